/** Makes dist/: modules, with the arithmetic that the Python package's page has too, types, and the model; licences. */

import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, rmSync } from "node:fs";
import { build } from "esbuild";

const folder = import.meta.dirname;
const model = "u2netp_distilled.onnx";

rmSync(`${folder}/dist`, { recursive: true, force: true });
mkdirSync(`${folder}/dist`);
execFileSync(process.execPath, [`${folder}/node_modules/typescript/bin/tsc`, "-p", folder], { stdio: "inherit" });
copyFileSync(`${folder}/build/web/src/index.d.ts`, `${folder}/dist/index.d.ts`);
await build({
  entryPoints: ["index", "browser", "node"].map((name) => `${folder}/src/${name}.ts`),
  outdir: `${folder}/dist`,
  bundle: true,
  format: "esm",
  target: "es2022",
  external: ["#platform", "onnxruntime-web", "onnxruntime-web/*", "node:*"],
  legalComments: "none",
});
copyFileSync(`${folder}/../src/u2net/models/weights/${model}`, `${folder}/dist/${model}`);
for (const name of ["LICENSE", "NOTICE"]) copyFileSync(`${folder}/../${name}`, `${folder}/${name}`);
