//! The stable codes of errors of the API: one list, which the document shows.

/// A code that an answer may have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ErrorCode {
    pub(crate) status: u16,
    pub(crate) code: &'static str,
    /// The meaning, for the document.
    pub(crate) about: &'static str,
}

const fn code(status: u16, code: &'static str, about: &'static str) -> ErrorCode {
    ErrorCode { status, code, about }
}

/// Codes that every route may answer with.
pub(crate) const COMMON: &[ErrorCode] = &[
    code(400, "malformed", "The request or its body is not well formed."),
    code(400, "host_malformed", "The request has no Host header, or several."),
    code(400, "unknown_parameter", "A parameter is not known here."),
    code(400, "invalid_parameter", "A parameter has a value that it does not take."),
    code(403, "origin_not_allowed", "A page of another origin asks."),
    code(413, "body_too_large", "The body is larger than 64 KiB."),
    code(421, "host_not_allowed", "The listener does not answer to this Host."),
    code(500, "internal", "The hub failed; the log says how."),
    code(500, "store_failed", "The store failed; the log says how."),
    code(503, "busy", "The hub is answering as many requests as allowed."),
    code(503, "store_busy", "The store cannot answer now; try again."),
    code(503, "store_unavailable", "The store accepts nothing; only a restart helps."),
    code(504, "timeout", "The answer took too long; ask for less."),
];

/// Codes of routes that need a permission.
pub(crate) const PERMISSION: &[ErrorCode] = &[
    code(401, "token_missing", "The request has no token and no session."),
    code(401, "token_mismatch", "The token is wrong, or it was revoked."),
    code(401, "token_expired", "The token has expired."),
    code(403, "role_missing", "The token has a role that is too low."),
    code(429, "too_many_requests", "The token or session asked too often."),
];

/// Codes of writes.
pub(crate) const WRITE: &[ErrorCode] =
    &[code(403, "form_token_mismatch", "A session wrote without its form token.")];

const EVENT_NOT_FOUND: ErrorCode =
    code(404, "event_not_found", "There is no event with this id; it may be past its retention.");
const INVALID_ID: ErrorCode = code(400, "invalid_id", "The text is not an id.");
const INVALID_UNTIL: ErrorCode = code(400, "invalid_until", "The time is not one in the future.");
const NOT_ONE_EVENT: ErrorCode = code(409, "not_one_event", "Several events have this id.");
const REFUSED_REQUEST: ErrorCode =
    code(409, "refused_request", "The id is that of a request that was refused.");
const UNKNOWN_NAME: ErrorCode =
    code(404, "unknown_name", "There is no source, handler or destination with this name.");
const INVALID_SCOPE: ErrorCode = code(400, "invalid_scope", "The text is not a scope.");
const INVALID_SOURCE: ErrorCode = code(400, "invalid_source", "The text is no name of a source.");
const DEAD_LETTER_NOT_FOUND: ErrorCode =
    code(404, "dead_letter_not_found", "There is no delivery with this id.");
const NOT_A_DEAD_LETTER: ErrorCode = code(409, "not_a_dead_letter", "It was not given up.");
const SET_CHANGED: ErrorCode = code(409, "set_changed", "The set is not what was counted.");
const QUARANTINED_NOT_FOUND: ErrorCode =
    code(404, "quarantined_not_found", "There is no request with this id in the quarantine.");
const SOURCE_NOT_FOUND: ErrorCode = code(404, "source_not_found", "There is no such source.");
const SECRET_NOT_FOUND: ErrorCode = code(404, "secret_not_found", "There is no such secret.");
const DELIVERY_NOT_FOUND: ErrorCode =
    code(404, "delivery_not_found", "There is no delivery with this id.");
const HANDLER_NOT_FOUND: ErrorCode =
    code(404, "handler_not_found", "There is no handler with this name.");
const VERSION_NOT_FOUND: ErrorCode =
    code(404, "version_not_found", "No known version begins with this text.");
const VERSION_AMBIGUOUS: ErrorCode =
    code(409, "version_ambiguous", "Several versions begin with this text.");
const NO_PREVIOUS: ErrorCode = code(409, "no_previous_version", "No other version ever served.");
const VERSION_SERVES: ErrorCode = code(409, "version_serves", "The version serves already.");
const VERSION_NEVER_SERVED: ErrorCode =
    code(409, "version_never_served", "The version is a candidate, which `unpin` runs.");
const STATE_VERSION: ErrorCode =
    code(409, "state_version_differs", "The version cannot read the state as it is now.");
const VERSION_REFUSED: ErrorCode =
    code(409, "version_refused", "The version cannot serve with the present configuration.");
const VERSION_CHANGED: ErrorCode =
    code(409, "version_changed", "The handler has changed meanwhile.");
const INVALID_REASON: ErrorCode = code(400, "invalid_reason", "The reason is not one short line.");
const TABLE_DAMAGED: ErrorCode = code(500, "table_damaged", "A stored routing table is damaged.");
const JOB_NOT_FOUND: ErrorCode = code(404, "job_not_found", "There is no job with this name.");
const JOB_OVER: ErrorCode = code(409, "job_over", "The job has ended.");
const TOO_MANY_SIGN_INS: ErrorCode =
    code(429, "too_many_sign_ins", "Too many sign-ins from this address failed.");

/// Further codes, by method and path.
pub(crate) const OF_ROUTE: &[(&str, &str, &[ErrorCode])] = &[
    ("GET", "/api/v1/events", &[UNKNOWN_NAME]),
    (
        "GET",
        "/api/v1/events/live",
        &[UNKNOWN_NAME, code(503, "too_many_streams", "There are as many streams as allowed.")],
    ),
    (
        "GET",
        "/api/v1/events/{id}",
        &[INVALID_ID, EVENT_NOT_FOUND, QUARANTINED_NOT_FOUND, NOT_ONE_EVENT],
    ),
    (
        "GET",
        "/api/v1/events/{id}/body",
        &[INVALID_ID, EVENT_NOT_FOUND, code(410, "payload_gone", "Retention removed the body.")],
    ),
    (
        "GET",
        "/api/v1/events/{id}/why",
        &[INVALID_ID, EVENT_NOT_FOUND, NOT_ONE_EVENT, REFUSED_REQUEST, TABLE_DAMAGED],
    ),
    ("GET", "/api/v1/handlers/{name}", &[HANDLER_NOT_FOUND, INVALID_SCOPE]),
    ("GET", "/api/v1/handlers/{name}/history", &[HANDLER_NOT_FOUND, INVALID_SCOPE]),
    (
        "GET",
        "/api/v1/handlers/{name}/diff",
        &[
            HANDLER_NOT_FOUND,
            INVALID_SCOPE,
            VERSION_NOT_FOUND,
            VERSION_AMBIGUOUS,
            NO_PREVIOUS,
            VERSION_REFUSED,
        ],
    ),
    (
        "POST",
        "/api/v1/handlers/{name}/rollback",
        &[
            HANDLER_NOT_FOUND,
            INVALID_SCOPE,
            INVALID_REASON,
            VERSION_NOT_FOUND,
            VERSION_AMBIGUOUS,
            NO_PREVIOUS,
            VERSION_SERVES,
            VERSION_NEVER_SERVED,
            STATE_VERSION,
            VERSION_REFUSED,
            VERSION_CHANGED,
        ],
    ),
    (
        "POST",
        "/api/v1/handlers/{name}/pin",
        &[
            HANDLER_NOT_FOUND,
            INVALID_SCOPE,
            INVALID_REASON,
            VERSION_NOT_FOUND,
            VERSION_AMBIGUOUS,
            VERSION_NEVER_SERVED,
            STATE_VERSION,
            VERSION_REFUSED,
            VERSION_CHANGED,
            code(409, "already_pinned", "The handler is pinned."),
            code(409, "not_serving", "No version of the handler serves."),
        ],
    ),
    (
        "DELETE",
        "/api/v1/handlers/{name}/pin",
        &[
            HANDLER_NOT_FOUND,
            INVALID_SCOPE,
            VERSION_CHANGED,
            code(409, "not_pinned", "The handler is not pinned."),
        ],
    ),
    (
        "POST",
        "/api/v1/handlers/{name}/rename",
        &[
            HANDLER_NOT_FOUND,
            INVALID_SCOPE,
            VERSION_CHANGED,
            code(400, "invalid_name", "The text is no name of a handler."),
            code(409, "name_taken", "The new name has a handler or state already."),
            code(409, "name_in_use", "The configuration refers to the old name."),
            code(409, "handler_busy", "Its runs did not end in time."),
            code(409, "files_not_renamed", "The files in the plugins folder cannot be renamed."),
        ],
    ),
    ("GET", "/api/v1/handlers/{name}/state", &[HANDLER_NOT_FOUND]),
    (
        "GET",
        "/api/v1/handlers/{name}/state/value",
        &[HANDLER_NOT_FOUND, code(404, "key_not_found", "The state has no such key.")],
    ),
    (
        "POST",
        "/api/v1/handlers/{name}/state",
        &[
            HANDLER_NOT_FOUND,
            code(400, "invalid_state", "A key or value is empty, too long or written twice."),
            code(409, "state_full", "The state would exceed its quota."),
        ],
    ),
    ("DELETE", "/api/v1/handlers/{name}/state", &[HANDLER_NOT_FOUND]),
    ("GET", "/api/v1/events/count", &[UNKNOWN_NAME]),
    ("GET", "/api/v1/events/export", &[UNKNOWN_NAME]),
    ("GET", "/api/v1/events/follow", &[UNKNOWN_NAME]),
    (
        "GET",
        "/api/v1/attempts/{id}/reads",
        &[INVALID_ID, code(404, "attempt_not_found", "There is no attempt with this id.")],
    ),
    (
        "POST",
        "/api/v1/attempts/{id}/rerun",
        &[
            INVALID_ID,
            code(404, "attempt_not_found", "There is no attempt with this id."),
            code(409, "not_rerunnable", "Its input was not kept, or it was no run of a handler."),
        ],
    ),
    ("GET", "/api/v1/refusals", &[UNKNOWN_NAME]),
    ("GET", "/api/v1/quarantine/trial", &[UNKNOWN_NAME]),
    (
        "GET",
        "/api/v1/settings",
        &[code(503, "settings_unreadable", "The configuration file cannot be read.")],
    ),
    ("GET", "/api/v1/sources/{name}", &[INVALID_SOURCE, SOURCE_NOT_FOUND, UNKNOWN_NAME]),
    (
        "POST",
        "/api/v1/sources/{name}/reconcile",
        &[
            INVALID_SOURCE,
            SOURCE_NOT_FOUND,
            code(400, "too_many_at_once", "There are more than 100 requests."),
        ],
    ),
    (
        "POST",
        "/api/v1/sources/{name}/sample",
        &[
            INVALID_SOURCE,
            SOURCE_NOT_FOUND,
            UNKNOWN_NAME,
            code(409, "no_sample", "The provider has no such sample, or no secret signs it."),
            code(409, "sample_refused", "The source refused the sample."),
        ],
    ),
    ("POST", "/api/v1/dead-letters/count", &[INVALID_ID, INVALID_SCOPE, UNKNOWN_NAME]),
    ("POST", "/api/v1/dead-letters/requeue", &[INVALID_ID, INVALID_SCOPE, SET_CHANGED]),
    ("POST", "/api/v1/dead-letters/discard", &[INVALID_ID, INVALID_SCOPE, SET_CHANGED]),
    ("GET", "/api/v1/dead-letters", &[UNKNOWN_NAME]),
    ("GET", "/api/v1/dead-letters/{id}", &[INVALID_ID, DEAD_LETTER_NOT_FOUND, NOT_A_DEAD_LETTER]),
    (
        "POST",
        "/api/v1/dead-letters/{id}/requeue",
        &[INVALID_ID, DEAD_LETTER_NOT_FOUND, NOT_A_DEAD_LETTER],
    ),
    ("GET", "/api/v1/stats", &[UNKNOWN_NAME]),
    ("GET", "/api/v1/holds", &[INVALID_SCOPE, UNKNOWN_NAME]),
    (
        "POST",
        "/api/v1/holds",
        &[
            INVALID_SCOPE,
            UNKNOWN_NAME,
            INVALID_UNTIL,
            INVALID_REASON,
            code(409, "too_many_holds", "There are as many holds as allowed."),
        ],
    ),
    (
        "DELETE",
        "/api/v1/holds/{id}",
        &[
            code(404, "hold_not_found", "There is no hold with this number."),
            code(409, "held_by_the_hub", "The hub itself holds it, until the cause is gone."),
        ],
    ),
    ("GET", "/api/v1/quarantine", &[UNKNOWN_NAME]),
    ("GET", "/api/v1/quarantine/{id}", &[INVALID_ID, QUARANTINED_NOT_FOUND]),
    (
        "POST",
        "/api/v1/quarantine/{id}/release",
        &[
            INVALID_ID,
            QUARANTINED_NOT_FOUND,
            code(409, "still_refused", "The request is still not valid."),
        ],
    ),
    ("POST", "/api/v1/quarantine/release", &[INVALID_SOURCE, INVALID_ID, UNKNOWN_NAME]),
    (
        "POST",
        "/api/v1/sources/{name}/secret-window",
        &[
            INVALID_SOURCE,
            INVALID_UNTIL,
            SOURCE_NOT_FOUND,
            UNKNOWN_NAME,
            code(409, "secrets_configured", "The configuration has the secrets of this source."),
            code(409, "not_handed_over", "The provider does not hand secrets over."),
            code(409, "secret_known", "A secret was handed over already; forget it first."),
        ],
    ),
    (
        "DELETE",
        "/api/v1/sources/{name}/secret-window",
        &[INVALID_SOURCE, code(404, "window_not_found", "No window is open for this source.")],
    ),
    (
        "POST",
        "/api/v1/sources/{name}/secret/show",
        &[INVALID_SOURCE, SECRET_NOT_FOUND, code(410, "secret_shown", "It was shown already.")],
    ),
    ("DELETE", "/api/v1/sources/{name}/secret", &[INVALID_SOURCE, SECRET_NOT_FOUND]),
    (
        "POST",
        "/api/v1/replay",
        &[
            INVALID_ID,
            INVALID_SCOPE,
            INVALID_SOURCE,
            UNKNOWN_NAME,
            EVENT_NOT_FOUND,
            DELIVERY_NOT_FOUND,
            NOT_ONE_EVENT,
            REFUSED_REQUEST,
            TABLE_DAMAGED,
            code(400, "invalid_request_name", "The idempotency key is not one short word."),
            code(409, "not_over", "The delivery is not over yet."),
            code(409, "erased", "The contents of the event were erased."),
        ],
    ),
    (
        "POST",
        "/api/v1/retry",
        &[
            INVALID_ID,
            INVALID_SCOPE,
            UNKNOWN_NAME,
            EVENT_NOT_FOUND,
            NOT_ONE_EVENT,
            code(409, "nothing_to_retry", "Nothing of it waits for a retry."),
        ],
    ),
    (
        "POST",
        "/api/v1/cancel",
        &[
            INVALID_ID,
            EVENT_NOT_FOUND,
            NOT_ONE_EVENT,
            code(409, "nothing_to_cancel", "All of it is finished."),
        ],
    ),
    ("POST", "/api/v1/erase", &[INVALID_ID, EVENT_NOT_FOUND]),
    (
        "POST",
        "/api/v1/jobs",
        &[
            UNKNOWN_NAME,
            code(400, "invalid_job_name", "The name is not one short word."),
            code(409, "job_differs", "There is a job of this name with another order."),
            code(409, "too_many_jobs", "There are as many unfinished jobs as allowed."),
        ],
    ),
    ("POST", "/api/v1/jobs/count", &[UNKNOWN_NAME]),
    ("GET", "/api/v1/jobs/{name}", &[JOB_NOT_FOUND]),
    (
        "GET",
        "/api/v1/jobs/{name}/live",
        &[JOB_NOT_FOUND, code(503, "too_many_streams", "There are as many streams as allowed.")],
    ),
    ("POST", "/api/v1/jobs/{name}/pause", &[JOB_NOT_FOUND, JOB_OVER]),
    ("POST", "/api/v1/jobs/{name}/resume", &[JOB_NOT_FOUND, JOB_OVER]),
    ("POST", "/api/v1/jobs/{name}/cancel", &[JOB_NOT_FOUND, JOB_OVER]),
    (
        "POST",
        "/api/v1/tokens",
        &[
            INVALID_UNTIL,
            code(400, "invalid_token_name", "The name is not one short word, or is the hub's own."),
            code(409, "token_name_taken", "Another token has this name."),
            code(409, "too_many_tokens", "There are as many tokens as allowed."),
        ],
    ),
    (
        "DELETE",
        "/api/v1/tokens/{name}",
        &[code(404, "token_not_found", "There is no token with this name.")],
    ),
    (
        "GET",
        "/login/{code}",
        &[
            TOO_MANY_SIGN_INS,
            code(401, "code_invalid", "The code is wrong, was used or is too old."),
        ],
    ),
    (
        "GET",
        "/health/live",
        &[code(503, "store_poisoned", "The store accepts no more writes; only a restart helps.")],
    ),
    (
        "GET",
        "/health/ready",
        &[
            code(503, "store_poisoned", "The store accepts no more writes; only a restart helps."),
            code(503, "store_full", "The disk is full."),
            code(503, "draining", "The hub is stopping."),
            code(503, "routing_missing", "No routing table is in force yet."),
        ],
    ),
];

/// Codes of paths and methods that are no route.
pub(crate) const NO_ROUTE: &[ErrorCode] = &[
    code(404, "not_found", "There is nothing at this path."),
    code(405, "method_not_allowed", "The path does not accept this method."),
];

/// The codes of a route.
pub(crate) fn of(method: &str, path: &str, needs_permission: bool) -> Vec<ErrorCode> {
    let further = OF_ROUTE.iter().find(|(of, at, _)| *of == method && *at == path);
    let permission = if needs_permission { PERMISSION } else { &[] };
    let write = if method == "GET" { &[] } else { WRITE };
    let further = further.map_or(&[][..], |(_, _, codes)| codes);
    [COMMON, permission, write, further].into_iter().flatten().copied().collect()
}
