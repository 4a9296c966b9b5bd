/**
 * The script of `deno task test`, on tests of its own.
 *
 * @module
 */
import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { until } from "./harness.ts";
import { isAlive } from "./processes.ts";
import { Program, ROOT } from "./program.ts";
import { writeFiles } from "./registry.ts";

const PASSING = `
  Deno.test("one", () => {});
  Deno.test("two", async (t) => void await t.step("a step", () => {}));
  Deno.test.ignore("three", () => {});
`;

/** A line like that which sums up a run. */
const COUNTED = "ok | 1000 passed | 0 failed (1s)";

/** The script in a folder with these files, and what it has said when it has ended. */
async function runTests(files: Record<string, string>, ...args: string[]) {
  const cwd = await writeFiles({ "deno.json": "{}", ...files });
  const tests = new Program(["run", "-A", "--no-config", `${ROOT}.ci/run_tests.ts`, ...args], {
    cwd,
  });
  return { tests, cwd };
}

Deno.test("deno task test runs each test and example once, shows what fails, and counts all", async () => {
  const { tests: run } = await runTests({
    "README.md": "```ts\nconsole.log(1);\n```\n",
    "tests/a_test.ts": PASSING,
    "tests/deeper/b_test.ts": `${PASSING} Deno.test("bad", () => { throw new Error("spoilt"); });`,
    "tests/c_test.ts": `Deno.test("is killed", () => Deno.kill(Deno.pid, "SIGKILL"));`,
    "tests/d.test.js": `${PASSING} Deno.test("prints", () => console.log("\\n${COUNTED}\\n"));`,
    "tests/e_test.ts": `${PASSING} Deno.exit(0);`,
  });
  await using tests = run;
  const { code, stdout, stderr } = await tests.result;
  assertEquals([code, stderr], [1, ""]);
  assertMatch(
    stdout,
    /^tests\/a_test\.ts \.\.\. ok \| 2 passed \(1 step\) \| 0 failed \| 1 ignored /m,
  );
  assertStringIncludes(stdout, "Error: spoilt");
  const [lines = "", summary = ""] = stdout.trimEnd().split("\n\n").slice(-2);
  // One that is killed may not have said which file it runs.
  assertMatch(lines, /^(tests\/c_test\.ts|\d+\/40) \.\.\. FAILED \(\d+s\)$/m);
  assertMatch(lines, /^tests\/deeper\/b_test\.ts \.\.\. FAILED \| 2 passed /m);
  // Nor does one that exits while it is loaded.
  assertMatch(lines, /^\d+\/40 \.\.\. FAILED \| 0 passed \| 0 failed \(\d+s\)$/m);
  assertStringIncludes(stdout, "tests/e_test.ts called `Deno.exit(0)` from outside any test");
  assertEquals(lines.split("\n").length, 3);
  assertMatch(summary, /^FAILED \| 8 passed \| 1 failed \| 3 ignored \(\d+s\)$/);
});

Deno.test("deno task test fails for a type that is wrong", async () => {
  const { tests: run } = await runTests({ "tests/a_test.ts": `const one: string = 1; ${PASSING}` });
  await using tests = run;
  const { code, stdout } = await tests.result;
  assertEquals(code, 1);
  assertStringIncludes(stdout, "Type 'number' is not assignable to type 'string'");
  assertMatch(stdout, /\n\ntypes of all \.\.\. FAILED \(\d+s\)\n\nFAILED \| /);
});

Deno.test("deno task test with arguments is one deno test that takes them", async () => {
  const { tests: run } = await runTests(
    { "tests/a_test.ts": PASSING, "tests/b_test.ts": PASSING },
    ...["tests/b_test.ts", "--filter", "one"],
  );
  await using tests = run;
  const { code, stdout } = await tests.result;
  assertEquals(code, 0);
  assertMatch(stdout, /^running 1 test from \.\/tests\/b_test\.ts\none \.\.\. ok /);
  assertMatch(stdout, /\nok \| 1 passed \| 0 failed \| 2 filtered out /);
});

Deno.test("deno task test ends its processes when it is stopped, and says which tests they were at", async () => {
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    const hangs = `Deno.test("hangs", () => new Promise((done) => {
      Deno.writeTextFileSync("pid", String(Deno.pid));
      setTimeout(done, 1e6);
    }));`;
    const { tests: run, cwd } = await runTests({ "tests/a_test.ts": hangs });
    await using tests = run;
    let pid = 0;
    await until(() => {
      try {
        return (pid = Number(Deno.readTextFileSync(`${cwd}/pid`))) > 0;
      } catch {
        return false; // not there yet
      }
    });
    tests.kill(signal);
    const { code, stdout } = await tests.result;
    assertEquals(code, 130);
    assertMatch(stdout, /pending:\n\nhangs => /);
    assertEquals(isAlive(pid), false);
  }
});
