// Serves a PHP file as `php -S` does, with PHP compiled to WebAssembly: a machine that runs the tests needs no PHP.
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { PhpCgiNode } from "php-cgi-wasm/PhpCgiNode";

const [file, port] = process.argv.slice(2);
// The file system is PHP's own, in memory: folders of this machine do not exist there.
const { TMPDIR, ...environ } = process.env;
const php = new PhpCgiNode({ docroot: "/www", prefix: "/" });
const { FS } = await php.binary;
FS.mkdir("/www");
FS.writeFile("/www/index.php", await readFile(file));

// CGI passes the headers of a request as variables, beside those of the process.
const toVariables = (headers) =>
  Object.entries(headers).map(([name, value]) => [`HTTP_${name.toUpperCase().replaceAll("-", "_")}`, value]);

const answer = async ({ method, url, headers, ...request }) => {
  php.setEnvs({ ...environ, ...Object.fromEntries(toVariables(headers)) });
  return php.request({ method, url, headers, ...request });
};

// One at a time, because all requests share the variables.
let last = Promise.resolve();

createServer(async (request, response) => {
  const { method, url, headers } = request;
  last = last.then(() => answer({ method, url, headers, on: request.on.bind(request) }));
  const answered = await last;
  response.writeHead(answered.status, Object.fromEntries(answered.headers));
  response.end(Buffer.from(await answered.arrayBuffer()));
}).listen(Number(port), "127.0.0.1");
