/**
 * The recipe of an HTTP server: asked by fetch, by raw bytes and by a browser.
 *
 * @module
 */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import {
  bytes,
  exchangeOn,
  PATIENCE,
  readAll,
  readExactly,
  tempFolder,
  text,
  writeAll,
} from "../harness.ts";
import { onPath } from "../program.ts";
import { Recipe } from "./recipe.ts";

const PAGE = "<!doctype html><title>Recipe</title><link rel=stylesheet href=style.css>" +
  "<p id=p>served by a StreamRequestHandler</p><script type=module src=script.js></script>";
const STYLE = "p { color: rgb(1, 2, 3) }";
/** Shows in the page that it has run, what it imported, and that the style was there. */
const SCRIPT = `import { word } from "./word.js";
const { color } = getComputedStyle(p);
p.append(\`, \${word} in \${color}\`);`;
const WORD = 'export const word = "drawn";';
const BIG = Uint8Array.from({ length: 300_000 }, (_, index) => index ^ (index >> 8));

/** A folder with a site, beside a file that must not be served. */
function makeSite(): string {
  const folder = Deno.realPathSync(tempFolder());
  const site = `${folder}/site`;
  Deno.mkdirSync(`${site}/sub dir`, { recursive: true });
  Deno.writeTextFileSync(`${site}/index.html`, PAGE);
  Deno.writeTextFileSync(`${site}/style.css`, STYLE);
  Deno.writeTextFileSync(`${site}/script.js`, SCRIPT);
  Deno.writeTextFileSync(`${site}/word.js`, WORD);
  Deno.writeTextFileSync(`${site}/sub dir/ü.txt`, "grüße\n");
  Deno.writeFileSync(`${site}/big.bin`, BIG);
  Deno.writeTextFileSync(`${folder}/secret.txt`, "secret");
  Deno.mkdirSync(`${folder}/site2`);
  Deno.writeTextFileSync(`${folder}/site2/secret.txt`, "secret");
  Deno.symlinkSync("../secret.txt", `${site}/link.txt`);
  Deno.symlinkSync("..", `${site}/up`);
  Deno.symlinkSync("big.bin", `${site}/same.bin`);
  Deno.symlinkSync("loop", `${site}/loop`);
  return site;
}

/** Starts the server over a new site; it may read whole folder around, so that only it keeps clients out. */
function serve(...flags: string[]): Recipe {
  const site = makeSite();
  return new Recipe("http_server.ts", {
    port: 0,
    replace: { "--allow-read=.": `--allow-read=${site}/..,${site}` },
    args: [...flags, site],
  });
}

/** Sends raw bytes and reads all that comes back. */
async function raw(port: number, request: string): Promise<string> {
  return await exchangeOn(await Deno.connect({ port }), request);
}

/** What the first lines of answers say, one for each. */
function statuses(answers: string): number[] {
  return [...answers.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map(([, status]) => Number(status));
}

Deno.test("http_server.ts answers GET and HEAD of fetch", async () => {
  await using server = serve();
  const root = `http://localhost:${await server.port()}`;
  using client = Deno.createHttpClient({}); // its connections end with it
  const ask = (path: string, method = "GET") => fetch(`${root}${path}`, { client, method });

  const page = await ask("/");
  assertEquals([page.status, page.headers.get("content-type")], [200, "text/html"]);
  assertEquals(await page.text(), PAGE);
  assertEquals(await (await ask("/index.html?query#part")).text(), PAGE);
  assertEquals(await (await ask("/sub%20dir/%C3%BC.txt")).text(), "grüße\n");
  for (const name of ["/big.bin", "/same.bin"]) {
    const big = await ask(name);
    assertEquals(big.headers.get("content-type"), "application/octet-stream");
    assertEquals(await big.bytes(), BIG);
  }
  const head = await ask("/big.bin", "HEAD");
  assertEquals([head.status, head.headers.get("content-length")], [200, `${BIG.length}`]);
  assertEquals(await head.text(), "");

  for (const path of ["/nothing", "/sub%20dir", "/sub%20dir/", "/index.html/", "/%00", "/loop"]) {
    const missing = await ask(path);
    assertEquals([missing.status, await missing.text()], [404, "404 Not Found"], path);
  }
  assertEquals((await ask("/nothing", "HEAD")).status, 404);
  const post = await fetch(`${root}/`, { client, method: "POST", body: "x".repeat(1000) });
  assertEquals([post.status, post.headers.get("allow")], [405, "GET, HEAD"]);
  assertEquals(await post.text(), "405 Method Not Allowed");
  await server.line(/^127\.0\.0\.1:\d+ POST 405 Method Not Allowed$/);
  client.close();
  await server.leave();
});

Deno.test("http_server.ts lets nobody out of its folder", async () => {
  await using server = serve();
  const port = await server.port();
  const paths = [
    "/../secret.txt",
    "/sub%20dir/../../secret.txt",
    "/%2e%2e/secret.txt",
    "/%2E%2E%2Fsecret.txt",
    "/..%2fsite2/secret.txt",
    "/../site2/secret.txt",
    "/..%5csecret.txt",
    "/%252e%252e/secret.txt",
    "//secret.txt",
    "/link.txt",
    "/up/secret.txt",
    "/up/",
    "/etc/passwd",
    "/../../../../../../../../etc/passwd",
    "*",
  ];
  for (const path of paths) {
    const answer = await raw(port, `GET ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
    assertEquals([statuses(answer), answer.includes("secret")], [[404], false], path);
  }
  await server.leave();
});

Deno.test("http_server.ts keeps a connection open as HTTP/1.1 and HTTP/1.0 have it", async () => {
  await using server = serve();
  const port = await server.port();
  const get = (version: string, connection = "", host = "Host: x\r\n") =>
    `GET /index.html HTTP/${version}\r\n${host}${connection}\r\n`;
  const cases: [requests: string, expected: number[]][] = [
    [get("1.1") + get("1.1") + get("1.1", "Connection: close\r\n") + get("1.1"), [200, 200, 200]],
    [get("1.1", "connection: Upgrade, Close\r\n") + get("1.1"), [200]],
    [get("1.0") + get("1.0"), [200]],
    [get("1.0", "Connection: Keep-Alive\r\n", "") + get("1.0"), [200, 200]],
    ["HEAD / HTTP/1.1\r\nHost: x\r\n\r\n" + get("1.1"), [200, 200]],
    ["GET /no HTTP/1.1\r\nHost: x\r\n\r\n" + get("1.1"), [404, 200]],
    ["POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody" + get("1.1"), [405, 200]],
    ["POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", [405]],
    ["GET http://x/index.html HTTP/1.1\r\nHost: x\r\n\r\n" + get("1.1"), [200, 200]],
    ["", []],
    ["GET / HT", []],
  ];
  for (const [requests, expected] of cases) {
    assertEquals(statuses(await raw(port, requests)), expected, requests);
  }

  using conn = await Deno.connect({ port });
  await writeAll(conn, bytes(get("1.1").slice(0, 20)));
  await writeAll(conn, bytes(get("1.1").slice(20))); // while the client waits, its answer has come
  let head = "";
  while (!head.endsWith("\r\n\r\n")) head += text(await readExactly(conn, 1));
  assertStringIncludes(head, "\r\nConnection: keep-alive\r\n");
  assertMatch(head, /^HTTP\/1\.1 200 OK\r\nDate: \w{3}, \d\d \w{3} \d{4} [\d:]{8} GMT\r\n/);
  assertEquals(text(await readExactly(conn, PAGE.length)), PAGE);
  await server.leave();
});

Deno.test("http_server.ts answers 400 to what is no request, and closes", async () => {
  await using server = serve();
  const port = await server.port();
  const requests = [
    "nonsense\r\n\r\n",
    "\r\n\r\n",
    "GET / HTTP/2.0\r\nHost: x\r\n\r\n",
    "GET /a b HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET nowhere HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET / HTTP/1.1\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: x\r\nbad name: 1\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n",
    `${"G".repeat(50)} / HTTP/1.1\r\nHost: x\r\n\r\n`,
    "GET  HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET http:// HTTP/1.1\r\nHost: x\r\n\r\n",
    "\x16\x03\x01\x00\xff\r\n\r\n",
  ];
  for (const request of requests) {
    const answer = await raw(port, request);
    assertEquals(statuses(answer), [400], request.slice(0, 100));
    assertMatch(answer, /\r\nConnection: close\r\n(.+\r\n)*\r\n400 Bad Request$/);
  }
  const { stdout } = await server.leave();
  for (const line of stdout.split("\n")) assert(line.length < 60, line);
});

Deno.test("http_server.ts answers what is too long, and what it does not read does not lose the answer", async () => {
  await using server = serve();
  const port = await server.port();
  const long = "x".repeat(1_000_000);
  const cases: [request: string, expected: number][] = [
    [`GET /${long}`, 431],
    [`GET / HTTP/1.1\r\nHost: x\r\nCookie: ${long}\r\n\r\n`, 431],
    [`GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n${long}`, 413],
    [`POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n${long}`, 405],
    ["GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 413],
  ];
  for (const [request, expected] of cases) {
    assertEquals(statuses(await raw(port, request)), [expected], request.slice(0, 100));
  }
  await server.leave();
});

Deno.test("http_server.ts takes URLs as targets, also without a path", async () => {
  await using server = serve();
  const port = await server.port();
  const targets = ["http://x", "http://x?query", "http://x/", "http://x:80/index.html#part"];
  for (const target of targets) {
    const answer = await raw(port, `GET ${target} HTTP/1.1\r\nHost: x\r\n\r\n`);
    assertEquals([statuses(answer), answer.includes(PAGE)], [[200], true], target);
  }
  await server.leave();
});

Deno.test("http_server.ts answers Expect: 100-continue before the body comes", async () => {
  await using server = serve();
  const port = await server.port();
  const ask = (method: string, version = "1.1") =>
    `${method} / HTTP/${version}\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-Continue\r\n\r\n`;
  const head = "HTTP/1.1 100 Continue\r\n\r\n";
  using conn = await Deno.connect({ port });
  await writeAll(conn, bytes(ask("GET")));
  assertEquals(text(await readExactly(conn, head.length)), head);
  assertEquals(statuses(await exchangeOn(conn, "body")), [200]);
  // What is refused in any case needs no body
  using refused = await Deno.connect({ port });
  await writeAll(refused, bytes(ask("POST")));
  const line = "HTTP/1.1 405 ";
  assertEquals(text(await readExactly(refused, line.length)), line);
  refused.close();
  assertEquals(statuses(await raw(port, `${ask("GET", "1.0")}body`)), [200]);
  await server.leave();
});

Deno.test("http_server.ts answers 408 to who takes too long, and closes who says nothing", async () => {
  await using server = serve("--patience", "500");
  const port = await server.port();
  using silent = await Deno.connect({ port });
  using slow = await Deno.connect({ port });
  using bodiless = await Deno.connect({ port });
  await writeAll(bodiless, bytes("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbo"));
  await writeAll(slow, bytes("GET / HTTP/1.1\r\nX: "));
  // A byte every now and then does not help
  let isOver = false;
  const trickle = (async () => {
    while (!isOver) {
      await writeAll(slow, bytes("x")).catch(() => isOver = true);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  })();
  assertEquals(text(await readExactly(slow, 13)), "HTTP/1.1 408 "); // a byte on its way may reset the rest
  isOver = true;
  await trickle;
  assertEquals(statuses(text(await readAll(bodiless))), [408]);
  assertEquals(text(await readAll(silent)), "");
  await server.leave();
});

/** The browser of this machine, if it has one. */
const chromium = onPath("chromium", "chromium-browser");

/** What a page has become in the browser when it and all that belongs to it is loaded, as HTML. */
async function domOf(url: string): Promise<string> {
  const flags = ["--headless", "--no-sandbox", "--disable-gpu"]; // no sandbox, as root has none
  await using browser = new Deno.Command(chromium!, {
    args: [...flags, `--user-data-dir=${tempFolder()}`, "--dump-dom", url],
    stdin: "null",
    stdout: "piped",
    stderr: "null",
  }).spawn();
  const timer = setTimeout(() => browser.kill("SIGKILL"), PATIENCE);
  const [dom] = await Promise.all([browser.stdout.text(), browser.status]);
  clearTimeout(timer);
  return dom;
}

Deno.test({
  name: `http_server.ts is read by a browser${
    chromium ? "" : " (ignored: no chromium or chromium-browser in the PATH)"
  }`,
  ignore: chromium === undefined,
  async fn() {
    await using server = serve();
    const dom = await domOf(`http://localhost:${await server.port()}/`);
    assertStringIncludes(dom, "<title>Recipe</title>");
    const shown = "served by a StreamRequestHandler, drawn in rgb(1, 2, 3)";
    assertStringIncludes(dom, `<p id="p">${shown}</p>`);
    const [, ...lines] = (await server.leave()).stdout.trimEnd().split("\n").slice(0, -1);
    const clients = lines.map((line) => /^(127\.0\.0\.1:\d+) GET 200 OK$/.exec(line)?.[1]);
    assertEquals(clients.filter((client) => client !== undefined).length, 4, lines.join("\n"));
    // The page, then what it names, then what that names: connections are there to be used again.
    assert(new Set(clients).size < clients.length, lines.join("\n"));
  },
});
