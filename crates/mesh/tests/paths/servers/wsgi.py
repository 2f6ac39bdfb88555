# Python: WSGI's PATH_INFO, which Flask and Django route by.
import sys
import wsgiref.simple_server


class Quiet(wsgiref.simple_server.WSGIRequestHandler):
    def log_message(self, *_):
        pass


def app(environ, start):
    start('200 OK', [('content-type', 'text/plain')])
    return [environ['PATH_INFO'].encode('latin-1')]


wsgiref.simple_server.make_server('127.0.0.1', int(sys.argv[1]), app, handler_class=Quiet).serve_forever()
