/**
 * Runs the tests with the packages of JSR in place of their stand-ins: in a copy of the tree whose
 * `deno.json` has no workspace. Where they come from another registry, `JSR_URL` says which.
 *
 * Run: `deno task test:jsr`; it takes the arguments of `deno task test`
 *
 * @module
 */

import { dirname, join } from "node:path";

const { stdout } = await new Deno.Command("git", {
  args: ["ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate"],
  stderr: "inherit",
}).output();
const files = new TextDecoder().decode(stdout).split("\0").filter((file) => file !== "");

const copy = await Deno.makeTempDir({ prefix: "jsr-" });
let code: number;
try {
  for (const file of files) {
    await Deno.mkdir(dirname(join(copy, file)), { recursive: true });
    await Deno.copyFile(file, join(copy, file));
  }
  const { workspace: _, ...config } = JSON.parse(await Deno.readTextFile("deno.json"));
  await Deno.writeTextFile(join(copy, "deno.json"), JSON.stringify(config));
  const tests = new Deno.Command(Deno.execPath(), {
    args: ["task", "test", ...Deno.args],
    cwd: copy,
  });
  ({ code } = await tests.spawn().status);
} finally {
  await Deno.remove(copy, { recursive: true });
}
Deno.exit(code);
