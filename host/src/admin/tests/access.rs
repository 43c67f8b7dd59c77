//! Tokens, roles and sessions over HTTP requests.

use super::*;
use crate::api::{CreatedToken, LoginCode, Proof, Role, TokenView, WhoAmI};

/// A request with these headers, and its answer.
async fn ask_with(
    admin: &TestAdmin,
    (method, path): (&str, &str),
    headers: &[(&str, &str)],
    body: &str,
) -> Response {
    let mut request = http::Request::builder().method(method).uri(path).header("host", HOST);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::from(body.to_owned())).unwrap();
    documented(method, path, admin.router.clone().call(request).await.unwrap()).await
}

async fn code_of(response: Response) -> (u16, String) {
    let (status, problem) = read(response).await;
    (status.as_u16(), problem["code"].as_str().unwrap_or_default().to_owned())
}

/// Makes a token. Returns the value of its `Authorization`.
async fn token(admin: &TestAdmin, name: &str, role: &str) -> String {
    let body = json!({ "name": name, "role": role }).to_string();
    let (status, created) = admin.post("/api/v1/tokens", &body).await;
    assert_eq!(status, 201, "{created}");
    format!("Bearer {}", created["token"].as_str().unwrap())
}

/// Signs in with the operator's token. Returns the cookie.
async fn sign_in(admin: &TestAdmin) -> String {
    let answer = ask_with(admin, ("POST", "/login"), &FORM, &format!("token={TOKEN}")).await;
    assert_eq!(answer.status(), StatusCode::SEE_OTHER);
    cookie_of(&answer)
}

fn cookie_of(answer: &Response) -> String {
    let cookie = answer.headers()["set-cookie"].to_str().unwrap();
    assert!(cookie.contains("HttpOnly; SameSite=Strict; Path=/"), "{cookie}");
    cookie.split(';').next().unwrap().to_owned()
}

/// The headers of a form of the console.
const FORM: [(&str, &str); 2] =
    [("content-type", "application/x-www-form-urlencoded"), ("origin", "http://127.0.0.1:8081")];

#[tokio::test]
async fn every_route_is_in_the_table_of_permissions() {
    let admin = TestAdmin::start().await;
    // What the console adds is tested with it.
    let of_api = permissions::ROUTES.iter().filter(|(_, path, _)| !path.starts_with("/-/"));
    for (method, path, needs) in of_api {
        let path = path.replace(['{', '}'], "");
        let answer = ask_with(&admin, (method, &path), &[], "").await;
        let refused = answer.status() == StatusCode::UNAUTHORIZED;
        let is_open = !matches!(needs, permissions::Needs::A(_));
        assert_eq!(refused, !is_open || path.starts_with("/login/"), "{method} {path}");
        assert_ne!(answer.status(), StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
    }
}

#[tokio::test]
async fn a_token_may_what_its_role_may() {
    let admin = TestAdmin::start().await;
    let hold = r#"{"scope":"handler:orders"}"#;
    let body = r#"{"name":"other","role":"read"}"#;
    for (role, read, operate, manage) in
        [("read", 200, 403, 403), ("operate", 200, 201, 403), ("admin", 200, 201, 201)]
    {
        let bearer = token(&admin, role, role).await;
        let headers = [("authorization", &*bearer)];
        let listed = ask_with(&admin, ("GET", "/api/v1/events"), &headers, "").await;
        let held = ask_with(&admin, ("POST", "/api/v1/holds"), &headers, hold).await;
        let made = ask_with(&admin, ("POST", "/api/v1/tokens"), &headers, body).await;
        let found = [listed.status(), held.status(), made.status()].map(|s| s.as_u16());
        assert_eq!(found, [read, operate, manage], "{role}");
    }
    let bearer = token(&admin, "third", "read").await;
    let refused =
        ask_with(&admin, ("POST", "/api/v1/holds"), &[("authorization", &*bearer)], hold).await;
    let (status, problem) = self::read(refused).await;
    assert_eq!((status.as_u16(), &problem["code"]), (403, &json!("role_missing")));
    let said = problem["detail"].as_str().unwrap();
    assert!(said.contains("`operate`") && said.contains("third has the role `read`"), "{said}");
    assert!(said.contains("weir tokens create NAME --role operate"), "{said}");
}

#[tokio::test]
async fn a_token_is_listed_with_its_use_and_never_itself() {
    let admin = TestAdmin::start().await;
    let (_, created) =
        admin.post("/api/v1/tokens", r#"{"name":"ci","role":"read","expires":"30d"}"#).await;
    let created: CreatedToken = serde_json::from_value(created).unwrap();
    assert!(created.token.starts_with("weir_tok_") && created.token.len() == 9 + 64);
    assert!(created.details.expires_at > Some(created.details.created_at));
    assert_eq!((&*created.details.created_by, created.details.last_used_at), ("operator", None));
    let bearer = format!("Bearer {}", created.token);
    let who = ask_with(&admin, ("GET", "/api/v1/whoami"), &[("authorization", &*bearer)], "").await;
    let who: WhoAmI = serde_json::from_value(read(who).await.1).unwrap();
    assert_eq!((&*who.name, who.role, who.how), ("ci", Some(Role::Read), Proof::Token));
    let listed = admin.get("/api/v1/tokens").await;
    assert!(!listed.to_string().contains(&created.token), "{listed}");
    let listed: ListPage<TokenView> = serde_json::from_value(listed).unwrap();
    assert!(listed.items[0].last_used_at.is_some());
    let stored = admin.store.list(weir_store::registry::EntryKind::Token).await.unwrap();
    let stored = String::from_utf8(stored[0].1.value.clone().unwrap()).unwrap();
    assert!(!stored.contains(&created.token) && !stored.contains("weir_tok_"), "{stored}");
}

#[tokio::test]
async fn a_revoked_or_expired_token_is_refused() {
    let admin = TestAdmin::start().await;
    let bearer = token(&admin, "ci", "read").await;
    let headers = [("authorization", &*bearer)];
    let ask =
        async || code_of(ask_with(&admin, ("GET", "/api/v1/holds"), &headers, "").await).await;
    assert_eq!(ask().await.0, 200);
    assert_eq!(admin.error("DELETE", "/api/v1/tokens/none").await.1, "token_not_found");
    assert_eq!(admin.ask("DELETE", "/api/v1/tokens/ci").await.status(), StatusCode::OK);
    assert_eq!(ask().await, (401, "token_mismatch".to_owned()));
    let again = token(&admin, "ci", "read").await;
    assert_ne!(again, bearer, "the name is free again, the token is another");

    let body = r#"{"name":"brief","role":"read","expires":"1ms"}"#;
    let (_, made) = admin.post("/api/v1/tokens", body).await;
    let bearer = format!("Bearer {}", made["token"].as_str().unwrap());
    let end: weir_core::time::Timestamp =
        serde_json::from_value(made["details"]["expires_at"].clone()).unwrap();
    while SystemClock.now() < end {
        tokio::task::yield_now().await;
    }
    let headers = [("authorization", &*bearer)];
    let refused = code_of(ask_with(&admin, ("GET", "/api/v1/holds"), &headers, "").await).await;
    assert_eq!(refused, (401, "token_expired".to_owned()));
}

#[tokio::test]
async fn a_token_outlives_the_process() {
    let admin = TestAdmin::start().await;
    let bearer = token(&admin, "ci", "operate").await;
    let router = Admin::new(admin.ctx.clone(), admin.deps.clone()).router(HOST.parse().unwrap());
    let restarted = TestAdmin { router, ..admin };
    let headers = [("authorization", &*bearer)];
    let answer = ask_with(&restarted, ("GET", "/api/v1/events"), &headers, "").await;
    assert_eq!(answer.status(), StatusCode::OK);
}

#[tokio::test]
async fn an_invalid_token_request_is_refused_with_its_code() {
    let admin = TestAdmin::start().await;
    token(&admin, "ci", "read").await;
    for (body, status, code) in [
        (r#"{"name":"ci","role":"read"}"#, 409, "token_name_taken"),
        (r#"{"name":"operator","role":"read"}"#, 400, "invalid_token_name"),
        (r#"{"name":"a b","role":"read"}"#, 400, "invalid_token_name"),
        (r#"{"name":"x","role":"root"}"#, 400, "malformed"),
        (r#"{"name":"x","role":"read","expires":"yesterday"}"#, 400, "invalid_until"),
    ] {
        let (found, problem) = admin.post("/api/v1/tokens", body).await;
        assert_eq!((found, &problem["code"]), (status, &json!(code)), "{body}");
    }
}

#[tokio::test]
async fn the_number_of_tokens_is_bounded() {
    let admin = TestAdmin::start().await;
    for n in 0..100 {
        token(&admin, &format!("t{n}"), "read").await;
    }
    let (status, problem) = admin.post("/api/v1/tokens", r#"{"name":"x","role":"read"}"#).await;
    assert_eq!((status, &problem["code"]), (409, &json!("too_many_tokens")));
}

#[tokio::test]
async fn a_session_reads_and_its_forms_need_their_token() {
    let admin = TestAdmin::start().await;
    let cookie = sign_in(&admin).await;
    let session = ("cookie", &*cookie);
    let who = ask_with(&admin, ("GET", "/api/v1/whoami"), &[session], "").await;
    let who: WhoAmI = serde_json::from_value(read(who).await.1).unwrap();
    assert_eq!((&*who.name, who.how), ("operator", Proof::Session));

    let post = ("POST", "/api/v1/time/confirm");
    let origin = FORM[1];
    let code = async |headers: &[(&str, &str)], body: &str| {
        code_of(ask_with(&admin, post, headers, body).await).await
    };
    assert_eq!(code(&[session], "").await, (403, "origin_not_allowed".to_owned()));
    let wrong = (403, "form_token_mismatch".to_owned());
    assert_eq!(code(&[session, origin], "").await, wrong);
    assert_eq!(code(&[session, origin, FORM[0]], "form_token=").await, wrong);
    assert_eq!(code(&[session, origin, ("x-weir-form-token", "0")], "").await, wrong);
}

#[tokio::test]
async fn a_form_with_the_token_of_its_session_is_done() {
    let admin = TestAdmin::start().await;
    let cookie = sign_in(&admin).await;
    let session = ("cookie", &*cookie);
    let who = ask_with(&admin, ("GET", "/api/v1/whoami"), &[session], "").await;
    let form_token = read(who).await.1["form_token"].as_str().unwrap().to_owned();
    let confirm = ("POST", "/api/v1/time/confirm");
    let by_header = [session, FORM[1], ("x-weir-form-token", &*form_token)];
    assert_eq!(ask_with(&admin, confirm, &by_header, "").await.status(), StatusCode::OK);
    let body = format!("a=b&form_token={form_token}");
    let by_field = [session, FORM[0], FORM[1]];
    assert_eq!(ask_with(&admin, confirm, &by_field, &body).await.status(), StatusCode::OK);
    let other = sign_in(&admin).await;
    let of_other = [("cookie", &*other), FORM[0], FORM[1]];
    let refused = code_of(ask_with(&admin, confirm, &of_other, &body).await).await;
    assert_eq!(refused, (403, "form_token_mismatch".to_owned()));

    let end = ask_with(&admin, ("POST", "/logout"), &by_field, &body).await;
    assert_eq!(
        (end.status().as_u16(), &end.headers()["location"]),
        (303, &"/login".parse().unwrap())
    );
    assert!(end.headers()["set-cookie"].to_str().unwrap().contains("Max-Age=0"));
    let gone = ask_with(&admin, ("GET", "/api/v1/events"), &[session], "").await;
    assert_eq!(code_of(gone).await, (401, "token_missing".to_owned()));
}

#[tokio::test]
async fn a_wrong_token_leads_back_to_the_sign_in_page() {
    let admin = TestAdmin::start().await;
    let body = "token=wrong&to=%2Fevents";
    for _ in 0..10 {
        let answer = ask_with(&admin, ("POST", "/login"), &FORM, body).await;
        let to = answer.headers()["location"].to_str().unwrap();
        assert_eq!(to, "/login?error=token_mismatch&to=%2Fevents");
        assert!(!answer.headers().contains_key("set-cookie"));
    }
    let good = format!("token={TOKEN}");
    let answer = ask_with(&admin, ("POST", "/login"), &FORM, &good).await;
    let to = answer.headers()["location"].to_str().unwrap();
    assert_eq!(to, "/login?error=too_many_sign_ins&to=%2F");
}

#[tokio::test]
async fn a_code_signs_one_browser_in() {
    let admin = TestAdmin::start().await;
    let (status, code) = admin.post("/api/v1/login-codes", "").await;
    let code: LoginCode = serde_json::from_value(code).unwrap();
    assert!(status == 201 && !code.path.contains(TOKEN));
    let path = format!("{}?to=%2Fevents", code.path);
    let elsewhere = [("sec-fetch-site", "cross-site")];
    let refused = ask_with(&admin, ("GET", &path), &elsewhere, "").await;
    assert_eq!(code_of(refused).await, (403, "origin_not_allowed".to_owned()));
    let answer = ask_with(&admin, ("GET", &path), &[], "").await;
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["location"]),
        (303, &"/events".parse().unwrap())
    );
    let cookie = cookie_of(&answer);
    let listed = ask_with(&admin, ("GET", "/api/v1/events"), &[("cookie", &*cookie)], "").await;
    assert_eq!(listed.status(), StatusCode::OK);
    let again = ask_with(&admin, ("GET", &path), &[], "").await;
    assert_eq!(code_of(again).await, (401, "code_invalid".to_owned()));
}

#[tokio::test]
async fn the_sessions_of_a_revoked_token_end() {
    let admin = TestAdmin::start().await;
    let bearer = token(&admin, "ada", "read").await;
    let body = format!("token={}", bearer.trim_start_matches("Bearer "));
    let cookie = cookie_of(&ask_with(&admin, ("POST", "/login"), &FORM, &body).await);
    let ask = async || {
        let headers = [("cookie", &*cookie)];
        ask_with(&admin, ("GET", "/api/v1/events"), &headers, "").await.status().as_u16()
    };
    assert_eq!(ask().await, 200);
    admin.ask("DELETE", "/api/v1/tokens/ada").await;
    assert_eq!(ask().await, 401);
}

#[tokio::test]
async fn a_browser_without_a_session_is_led_to_the_sign_in_page() {
    let admin = TestAdmin::start().await;
    let page = [("accept", "text/html,application/xhtml+xml")];
    let answer = ask_with(&admin, ("GET", "/events?source=github"), &page, "").await;
    assert_eq!(answer.status(), StatusCode::SEE_OTHER);
    assert_eq!(answer.headers()["location"], "/login?to=%2Fevents%3Fsource%3Dgithub");
    let api = ask_with(&admin, ("GET", "/api/v1/events"), &page, "").await;
    assert_eq!(code_of(api).await, (401, "token_missing".to_owned()));
}

#[tokio::test]
async fn the_operator_can_look_while_the_store_is_closed() {
    let admin = TestAdmin::start().await;
    admin.store.close().await.unwrap();
    assert_eq!(admin.ask("GET", "/api/v1/handlers").await.status(), StatusCode::OK);
    let unknown = [("authorization", "Bearer weir_tok_unknown")];
    let answer = ask_with(&admin, ("GET", "/api/v1/handlers"), &unknown, "").await;
    assert_eq!(code_of(answer).await, (503, "store_unavailable".to_owned()));
}

#[tokio::test]
async fn a_token_that_asks_too_often_is_told_when_to_ask_again() {
    let mut admin = TestAdmin::start().await;
    let hour = std::time::Duration::from_secs(3_600);
    admin.deps.rate = Some(weir_core::rate::Rate::new(1, hour, 2));
    admin.router = Admin::new(admin.ctx.clone(), admin.deps.clone()).router(HOST.parse().unwrap());
    admin.get("/api/v1/events").await;
    admin.get("/api/v1/events").await;
    let refused = admin.ask("GET", "/api/v1/events").await;
    let wait: u16 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!(wait > 3_000, "{wait}");
    assert_eq!(code_of(refused).await, (429, "too_many_requests".to_owned()));
    admin.get("/health/live").await;
}

#[tokio::test]
async fn a_write_that_is_refused_for_its_role_is_in_the_audit_log() {
    let admin = TestAdmin::start().await;
    let bearer = token(&admin, "reader", "read").await;
    let headers = [("authorization", &*bearer)];
    let release = ("DELETE", "/api/v1/holds/7");
    for _ in 0..100 {
        let answer = ask_with(&admin, release, &headers, "").await;
        assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    }
    ask_with(&admin, ("GET", "/api/v1/audit"), &headers, "").await;
    ask_with(&admin, release, &[("authorization", "Bearer weir_tok_unknown")], "").await;
    let refused = admin.get("/api/v1/audit?outcome=refused&limit=200").await;
    let items = refused["items"].as_array().unwrap();
    assert_eq!(items.len(), 10, "reads and strangers are not recorded, and a flood is not either");
    let first = &items[9];
    assert_eq!((&first["who"], &first["act"]), (&json!("reader"), &json!("release")));
    assert_eq!(first["subject"], "DELETE /api/v1/holds/{id}");
    let detail = json!({ "how": "token", "code": "role_missing", "needs": "operate" });
    assert_eq!(first["detail"], detail);
}
