// @ts-check
// The live list of events.
export {};
