/** How an old primary fails while its replica is promoted. Its clients are told nothing by any of these. */
export const FAILURES = ["crash", "hang", "split"] as const;

/** Gone; standing still; going on, without its replica. */
export type Failure = (typeof FAILURES)[number];
