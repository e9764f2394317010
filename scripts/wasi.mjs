// Runs a test program built for wasm32-wasip1 in Node: it is cargo's runner for the filter's target.
import { readFile } from 'node:fs/promises';
import { argv, exit } from 'node:process';
import { WASI } from 'node:wasi';

const args = argv.slice(2);
const wasi = new WASI({ version: 'preview1', args });
const { instance } = await WebAssembly.instantiate(await readFile(args[0]), wasi.getImportObject());
exit(wasi.start(instance));
