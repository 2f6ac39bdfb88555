# Python: WSGI's PATH_INFO, and in /files what http.server takes for a file's name.
import http.server
import sys


class Handler(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        name = self.translate_path(self.path)
        body = name[len(self.directory):].encode('utf-8', 'surrogateescape') or b'/'
        self.send_response(200)
        self.send_header('content-length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer(('127.0.0.1', int(sys.argv[1])), Handler).serve_forever()
