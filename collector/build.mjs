// Builds the collector: types and modules into dist/, the script-tag build into browser/, both below the folder that is
// named (default: here). `node build.mjs test` bundles and runs the unit tests.
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync, rmSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { fileURLToPath } from "node:url";
import path from "node:path";
import { build } from "esbuild";

const root = path.dirname(fileURLToPath(import.meta.url));
const at = (...parts) => path.join(root, ...parts);
const out = path.resolve(process.argv[2] === "test" ? root : (process.argv[2] ?? root));
const made = (name) => path.join(out, name);
const { version } = JSON.parse(readFileSync(at("package.json"), "utf8"));

const common = {
  absWorkingDir: root,
  bundle: true,
  minify: true,
  legalComments: "none",
  target: "es2020",
  define: { VERSION: JSON.stringify(version) },
  logLevel: "warning",
};
// Loaded when they are needed, from beside the core: each is a module of its own.
const lazy = ["device", "camera", "worker"];
const external = ["./device.js", "./camera.js"];

const tsc = (...options) =>
  execFileSync(process.execPath, [at("node_modules", "typescript", "bin", "tsc"), "-p", at("tsconfig.json"), ...options], {
    stdio: "inherit",
    cwd: root,
  });

async function bundle() {
  for (const folder of ["dist", "browser"]) rmSync(made(folder), { recursive: true, force: true });
  tsc("--outDir", made("dist"));
  const modules = lazy.map((name) => `src/${name}.ts`);
  await build({ ...common, entryPoints: ["src/index.ts"], external, format: "esm", outdir: made("dist") });
  await build({ ...common, entryPoints: modules, format: "esm", outdir: made("dist") });
  await build({ ...common, entryPoints: modules, format: "esm", outdir: made("browser") });
  await build({
    ...common,
    entryPoints: { tellwire: "src/browser.ts" },
    external,
    format: "iife",
    outdir: made("browser"),
  });
  for (const folder of ["dist", "browser"]) {
    for (const name of readdirSync(made(folder)).filter((one) => one.endsWith(".js"))) {
      const bytes = readFileSync(path.join(made(folder), name));
      console.log(`${folder}/${name}  ${bytes.length} bytes, ${gzipSync(bytes, { level: 9 }).length} gzipped`);
    }
  }
}

async function test() {
  const names = readdirSync(at("test")).filter((name) => name.endsWith(".test.mjs"));
  await build({
    ...common,
    minify: false,
    entryPoints: names.map((name) => `test/${name}`),
    platform: "node",
    format: "esm",
    outdir: "build",
    outExtension: { ".js": ".mjs" },
  });
  execFileSync(process.execPath, ["--test", ...names.map((name) => at("build", name))], {
    stdio: "inherit",
  });
}

await (process.argv[2] === "test" ? test() : bundle());
