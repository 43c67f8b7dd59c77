//! The role that each route needs: one table, which a test compares with the router. Pure.

use http::Method;
use thiserror::Error;

use super::identity::IdentityError;
use super::principal::Principal;
use crate::api::Role;

/// The permission that a request needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    /// None: a load balancer that checks health has no token, and who signs in has no session.
    Nothing,
    /// None from this machine and not through a proxy, for probes and scrapers; else the role
    /// `read`.
    NothingHere,
    /// A role, or a higher one.
    A(Role),
}

use Needs::{A, Nothing, NothingHere};
use Role::{Admin, Operate, Read};

/// Every route of the listener with what it needs. `GET` stands for `HEAD` too.
pub(crate) const ROUTES: &[(&str, &str, Needs)] = &[
    ("GET", "/health", NothingHere),
    ("GET", "/health/live", Nothing),
    ("GET", "/health/ready", Nothing),
    ("GET", "/metrics", NothingHere),
    ("POST", "/login", Nothing),
    ("GET", "/login/{code}", Nothing),
    ("POST", "/logout", A(Read)),
    ("POST", "/-/theme", Nothing),
    ("POST", "/-/zone", Nothing),
    ("POST", "/-/keys", Nothing),
    ("GET", "/api/openapi.json", Nothing),
    ("GET", "/api/v1/whoami", A(Read)),
    ("POST", "/api/v1/login-codes", A(Read)),
    ("GET", "/api/v1/tokens", A(Admin)),
    ("POST", "/api/v1/tokens", A(Admin)),
    ("DELETE", "/api/v1/tokens/{name}", A(Admin)),
    ("GET", "/api/v1/audit", A(Operate)),
    ("GET", "/api/v1/events", A(Read)),
    ("GET", "/api/v1/events/live", A(Read)),
    ("GET", "/api/v1/events/count", A(Read)),
    ("GET", "/api/v1/events/export", A(Read)),
    ("GET", "/api/v1/events/follow", A(Read)),
    ("GET", "/api/v1/attempts/{id}/reads", A(Read)),
    ("POST", "/api/v1/attempts/{id}/rerun", A(Operate)),
    ("GET", "/api/v1/events/{id}", A(Read)),
    ("GET", "/api/v1/events/{id}/body", A(Read)),
    ("GET", "/api/v1/events/{id}/why", A(Read)),
    ("GET", "/api/v1/dead-letters", A(Read)),
    ("GET", "/api/v1/dead-letters/causes", A(Read)),
    ("POST", "/api/v1/dead-letters/count", A(Read)),
    ("POST", "/api/v1/dead-letters/requeue", A(Operate)),
    ("POST", "/api/v1/dead-letters/discard", A(Operate)),
    ("GET", "/api/v1/dead-letters/{id}", A(Read)),
    ("POST", "/api/v1/dead-letters/{id}/requeue", A(Operate)),
    ("GET", "/api/v1/handlers", A(Read)),
    ("GET", "/api/v1/handlers/{name}", A(Read)),
    ("GET", "/api/v1/handlers/{name}/history", A(Read)),
    ("GET", "/api/v1/handlers/{name}/diff", A(Read)),
    ("POST", "/api/v1/handlers/{name}/rollback", A(Operate)),
    ("POST", "/api/v1/handlers/{name}/pin", A(Operate)),
    ("DELETE", "/api/v1/handlers/{name}/pin", A(Operate)),
    ("POST", "/api/v1/handlers/{name}/rename", A(Operate)),
    ("GET", "/api/v1/handlers/{name}/state", A(Read)),
    ("GET", "/api/v1/handlers/{name}/state/value", A(Read)),
    ("POST", "/api/v1/handlers/{name}/state", A(Operate)),
    ("DELETE", "/api/v1/handlers/{name}/state", A(Operate)),
    ("GET", "/api/v1/destinations", A(Read)),
    ("GET", "/api/v1/routes", A(Read)),
    ("GET", "/api/v1/schedules", A(Read)),
    ("GET", "/api/v1/refusals", A(Read)),
    ("GET", "/api/v1/settings", A(Read)),
    ("GET", "/api/v1/inbox", A(Read)),
    ("GET", "/api/v1/unreadable", A(Read)),
    ("GET", "/api/v1/stats", A(Read)),
    ("GET", "/api/v1/holds", A(Read)),
    ("POST", "/api/v1/holds", A(Operate)),
    ("DELETE", "/api/v1/holds/{id}", A(Operate)),
    ("GET", "/api/v1/quarantine", A(Read)),
    ("GET", "/api/v1/quarantine/trial", A(Read)),
    ("GET", "/api/v1/quarantine/{id}", A(Read)),
    ("GET", "/api/v1/quarantine/trial", A(Read)),
    ("POST", "/api/v1/quarantine/{id}/release", A(Operate)),
    ("POST", "/api/v1/quarantine/release", A(Operate)),
    ("GET", "/api/v1/sources", A(Read)),
    ("GET", "/api/v1/sources/{name}", A(Read)),
    ("POST", "/api/v1/sources/{name}/sample", A(Operate)),
    ("POST", "/api/v1/sources/{name}/reconcile", A(Admin)),
    ("POST", "/api/v1/sources/{name}/secret-window", A(Admin)),
    ("DELETE", "/api/v1/sources/{name}/secret-window", A(Admin)),
    ("POST", "/api/v1/sources/{name}/secret/show", A(Admin)),
    ("DELETE", "/api/v1/sources/{name}/secret", A(Admin)),
    ("POST", "/api/v1/replay", A(Operate)),
    ("GET", "/api/v1/jobs", A(Read)),
    ("POST", "/api/v1/jobs", A(Operate)),
    ("POST", "/api/v1/jobs/count", A(Read)),
    ("GET", "/api/v1/jobs/{name}", A(Read)),
    ("GET", "/api/v1/jobs/{name}/live", A(Read)),
    ("POST", "/api/v1/jobs/{name}/pause", A(Operate)),
    ("POST", "/api/v1/jobs/{name}/resume", A(Operate)),
    ("POST", "/api/v1/jobs/{name}/cancel", A(Operate)),
    ("POST", "/api/v1/retry", A(Operate)),
    ("POST", "/api/v1/cancel", A(Operate)),
    ("POST", "/api/v1/erase", A(Admin)),
    ("POST", "/api/v1/time/confirm", A(Operate)),
];

/// The permission that a request needs. `path` is that of the matched route, or none. A page that
/// is not in the table is read with the role `read`, and its forms need `operate`.
pub(super) fn needs(method: &Method, path: Option<&str>) -> Needs {
    let reads = is_read(method);
    let method = if reads { "GET" } else { method.as_str() };
    let listed = ROUTES.iter().find(|(of, at, _)| *of == method && Some(*at) == path);
    match listed {
        Some((_, _, needs)) => *needs,
        None if path.is_some_and(is_open_page) && reads => Nothing,
        None if reads => A(Read),
        None => A(Operate),
    }
}

/// A request whose principal may not do this.
#[derive(Debug, Error)]
pub(super) enum NotPermitted {
    #[error(transparent)]
    Unknown(#[from] IdentityError),
    #[error(
        "this needs the role `{needs}`, and {} has the role `{has}`; an admin can make a token \
         with it: weir tokens create NAME --role {needs}",
        .by
    )]
    RoleMissing { needs: Role, has: Role, by: Box<Principal> },
}

/// Decides who makes a request and whether that is permitted. `is_local` is true for a client on
/// this machine, and `open_reads` if such clients may read without a token.
pub(super) fn decide(
    needs: Needs,
    proof: Result<Principal, IdentityError>,
    is_local: bool,
    open_reads: bool,
) -> Result<Principal, NotPermitted> {
    let role = match needs {
        Needs::Nothing => return Ok(proof.unwrap_or_else(|_| Principal::anonymous())),
        Needs::NothingHere if is_local => {
            return Ok(proof.unwrap_or_else(|_| Principal::anonymous()));
        }
        Needs::NothingHere => Role::Read,
        Needs::A(role) => role,
    };
    match proof {
        Ok(principal) if principal.may(role) => Ok(principal),
        Ok(principal) => Err(NotPermitted::RoleMissing {
            needs: role,
            has: principal.role.unwrap_or(Role::Read),
            by: Box::new(principal),
        }),
        Err(IdentityError::TokenMissing) if open_reads && is_local && role == Role::Read => {
            Ok(Principal::open_reads())
        }
        Err(error) => Err(error.into()),
    }
}

/// The sign-in page, and what every page is drawn with.
fn is_open_page(path: &str) -> bool {
    path == "/login" || path.starts_with("/-/")
}

/// True for a request that changes nothing.
pub(super) fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listed_route_needs_what_the_table_says() {
        let of = |method: Method, path| needs(&method, Some(path));
        assert_eq!(of(Method::HEAD, "/health/live"), Nothing);
        assert_eq!(of(Method::GET, "/api/v1/tokens"), A(Admin));
        assert_eq!(of(Method::DELETE, "/api/v1/holds/{id}"), A(Operate));
    }

    fn holder(role: Role) -> Principal {
        Principal::of_token("ci".into(), role, crate::api::Proof::Token)
    }

    #[test]
    fn a_role_may_all_that_a_lower_one_may() {
        for (needs, has, permitted) in [
            (Read, Read, true),
            (Read, Admin, true),
            (Operate, Read, false),
            (Operate, Operate, true),
            (Admin, Operate, false),
        ] {
            let decided = decide(A(needs), Ok(holder(has)), true, false);
            assert_eq!(decided.is_ok(), permitted, "{has} for {needs}");
        }
        let said = decide(A(Admin), Ok(holder(Read)), true, false).unwrap_err().to_string();
        assert!(said.contains("the role `admin`, and ci has the role `read`"), "{said}");
    }

    #[test]
    fn reads_are_open_only_to_this_machine_and_if_the_operator_says_so() {
        let missing = || Err(IdentityError::TokenMissing);
        let may = |needs, is_local, open| decide(needs, missing(), is_local, open).is_ok();
        assert!(may(A(Read), true, true) && !may(A(Read), true, false));
        assert!(!may(A(Read), false, true) && !may(A(Operate), true, true));
        assert!(may(NothingHere, true, false) && !may(NothingHere, false, false));
        assert!(may(Nothing, false, false));
        let wrong = decide(A(Read), Err(IdentityError::TokenMismatch), true, true);
        assert!(wrong.is_err(), "a wrong token is an error, and not no token");
    }

    #[test]
    fn what_is_not_listed_is_not_open() {
        assert_eq!(needs(&Method::GET, None), A(Read));
        assert_eq!(needs(&Method::POST, None), A(Operate));
        assert_eq!(needs(&Method::PATCH, Some("/health")), A(Operate));
        assert_eq!(needs(&Method::GET, Some("/login")), Nothing);
        assert_eq!(needs(&Method::PUT, Some("/-/{name}")), A(Operate));
    }
}
