#!/usr/bin/env node
// Syntax that every Node since 14 can read, so that an old one gets a sentence instead of a syntax error.
// 22.18 is the first version that runs TypeScript files by itself.
var node = process.versions.node
var parts = node.split('.').map(Number)

if (parts[0] < 22 || (parts[0] === 22 && parts[1] < 18)) {
  console.error(`Orchestrator needs Node 22.18 or newer, this is Node ${node}.`)
  console.error('The repository brings Node 24: run `npm ci` in its folder, and there `npm start` or')
  console.error('`npx orchestrator start` (also migrate, demo, token, doctor).')
  process.exit(1)
}

import('../src/main.ts')
