/**
 * The canary: a test that leaks fails under this package's deno.json.
 *
 * @module
 */
import { assertEquals, assertMatch, assertNotEquals, assertStringIncludes } from "@std/assert";
import { runProgram } from "./harness.ts";

/** Runs `body` as a test of its own under this package's configuration. */
async function runTest(body: string): Promise<{ code: number; output: string }> {
  const program = `
    import { TCPServer } from "@netkit/socketserver";
    const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    void TCPServer;
    void listener;
    Deno.test("canary", async () => { ${body} });`;
  const { code, stdout, stderr } = await runProgram(program, { test: true });
  return { code, output: stdout + stderr };
}

const SERVER = `new TCPServer({ hostname: "127.0.0.1", port: 0 }, () => {})`;

for (
  const [what, body, message] of [
    ["a listener", `Deno.listen({ hostname: "127.0.0.1", port: 0 });`, /[Ll]istener/],
    ["a server that is never closed", `${SERVER};`, /[Ll]istener/],
    ["a server whose loop runs on", `void ${SERVER}.serveForever();`, /[Ll]istener|accept/],
    ["an operation", `void listener.accept();`, /accept/],
    ["a timer", `setTimeout(() => {}, 1000);`, /timer/],
    ["an interval", `setInterval(() => {}, 1000);`, /interval/],
  ] as const
) {
  Deno.test(`A test that leaks ${what} fails`, async () => {
    const { code, output } = await runTest(body);
    assertNotEquals(code, 0, output);
    assertStringIncludes(output, "Leaks detected");
    assertMatch(output, message);
  });
}

Deno.test("A test that closes its server passes", async () => {
  const { code, output } = await runTest(`
    await using server = ${SERVER};
    const serving = server.serveForever();
    await server.shutdown();
    await serving;
  `);
  assertEquals(code, 0, output);
});
