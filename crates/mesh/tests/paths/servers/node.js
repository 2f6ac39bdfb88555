// Node: the URL standard's parser, then decodeURIComponent, as most frameworks do.
const http = require('http');
http.createServer((request, response) => {
  try {
    const { pathname } = new URL(request.url, 'http://localhost');
    response.end(decodeURIComponent(pathname));
  } catch {
    response.writeHead(400).end();
  }
}).listen(+process.argv[2], '127.0.0.1');
