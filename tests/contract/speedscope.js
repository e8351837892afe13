// SPDX-License-Identifier: MIT
// What speedscope (its published npm package) makes of a pprof profile: speedscope.js PACKAGE_FOLDER PROFILE.
// The package is a bundle for browsers: an application, and a file with its importers. Both are loaded here without starting
// the application, and the application's own entry for files, importProfilesFromArrayBuffer, reads the profile.
// Prints JSON: the profile's unit and total, and the frames with the weight that they have themselves.
const fs = require('fs');
const path = require('path');
const vm = require('vm');
const zlib = require('zlib');

const release = path.join(process.argv[2], 'dist', 'release');

function bundle(pattern) {
	const name = fs.readdirSync(release).find(file => pattern.test(file));
	// The last argument but one names the modules that run at once: none.
	return fs.readFileSync(path.join(release, name), 'utf8').replace(/\},\{\},\[[^\]]*\], ?null\)\s*(\/\/#.*\s*)?$/, '},{},[],null)');
}

// What the importers say of their progress is not for standard output.
const quiet = {...console, log() {}};
const sandbox = {console: quiet, TextDecoder, TextEncoder, Uint8Array, ArrayBuffer, setTimeout, clearTimeout, performance,
	window: {}, self: {}, navigator: {userAgent: ''}, location: {hash: ''}, document: {}};
vm.createContext(sandbox);
vm.runInContext(bundle(/^speedscope\..*\.js$/), sandbox);
vm.runInContext(bundle(/^import\..*\.js$/), sandbox);

const modules = vm.runInContext('parcelRequire', sandbox).modules;
const entry = Object.keys(modules).find(id => /exports\.importProfilesFromArrayBuffer=/.test(modules[id][0].toString()));

async function main() {
	const importer = vm.runInContext('parcelRequire', sandbox)(entry);
	const file = fs.readFileSync(process.argv[3]);
	const bytes = file[0] === 0x1f ? zlib.gunzipSync(file) : file;
	const group = await importer.importProfilesFromArrayBuffer('leak.pb', bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
	const profile = group.profiles[0];
	const frames = {};

	profile.forEachFrame(frame => {
		frames[frame.name] = {self: frame.getSelfWeight(), total: frame.getTotalWeight(), file: frame.file, line: frame.line};
	});
	console.log(JSON.stringify({unit: profile.getWeightUnit(), total: profile.getTotalWeight(), frames}));
}

main().catch(error => {
	console.error(error);
	process.exit(1);
});
