// Replaces the host's interfaces by the modules of this folder.

const INTERFACE = /^(comptoir:platform|wasi:clocks)\/([a-z-]+)@/;

/**
 * Node's hook for the names of modules.
 *
 * @param {string} specifier
 * @param {any} context
 * @param {(specifier: string, context: any) => any} next
 */
export function resolve(specifier, context, next) {
  const [, , name] = INTERFACE.exec(specifier) ?? [];
  if (name === undefined) return next(specifier, context);
  return { url: new URL(`./${name}.js`, import.meta.url).href, shortCircuit: true };
}
