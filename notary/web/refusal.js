// A receipt that does not hold, by the name that docs/receipt.md gives it.

export class Refusal extends Error {
  /** @param {string} name one of docs/receipt.md, "Refusals" */
  constructor(name, why) {
    super(why)
    this.name = name
  }
}

/** Throws the refusal `name` unless `holds`. */
export function demand(holds, name, why) {
  if (!holds) throw new Refusal(name, why)
}

/** Runs `read`; whatever it refuses is told under `name`. */
export function named(name, read) {
  try {
    return read()
  } catch (error) {
    throw new Refusal(name, error.message)
  }
}
