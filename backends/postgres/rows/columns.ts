import { waitersOf } from "../queue/fragments.ts";
import { microseconds } from "./fragments.ts";

/** The columns of a row in an answer. A lock may expire after the year 2106. */
export function columns(row: string, now: string): string {
  return `${row}.name, coalesce(${row}.first_token, ${row}.token)::text AS token,
    ${row}.locked_by AS holder, ${row}.lock_process::text AS process,
    (extract(epoch FROM ${row}.locked_until) * 1000000)::bigint::text AS until,
    ${microseconds(`${row}.created_at`)}::text AS created, ${microseconds(`${row}.updated_at`)}::text AS updated,
    ${row}.metadata::text AS metadata, ${row}.session_pid::text AS session, ${microseconds(now)}::text AS now,
    ${row}.slots::text AS slots, ${waitersOf(row)} AS waiters, (${row}.line IS NOT NULL)::text AS queued`;
}
