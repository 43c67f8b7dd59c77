//! The OpenAPI document: its structure, and that answers are as it says.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use super::*;

/// The document as JSON.
static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| serde_json::to_value(crate::admin::document()).unwrap());

/// Every operation: its method in upper case, its path, and what the document says of it.
fn operations() -> Vec<(String, &'static str, &'static Value)> {
    let paths = DOCUMENT["paths"].as_object().unwrap();
    let of_path = |(path, item): (&'static String, &'static Value)| {
        let all = item.as_object().unwrap().iter();
        all.map(move |(method, operation)| (method.to_uppercase(), path.as_str(), operation))
    };
    paths.iter().flat_map(of_path).collect()
}

/// Every schema of answers in a value, by its path.
fn schema_with_components(schema: &Value) -> Value {
    let mut whole = schema.clone();
    whole["components"] = DOCUMENT["components"].clone();
    whole
}

/// Asserts that an answer is one that the document states for its route. Paths that are no route
/// are not in the document.
pub(super) fn assert_documented(method: &str, path: &str, answer: &Response, body: &[u8]) {
    let path = path.split('?').next().unwrap_or_default();
    let is_at = |template: &str| {
        let (of, at) = (template.split('/'), path.split('/'));
        of.clone().count() == at.clone().count()
            && of.zip(at).all(|(of, at)| (of.starts_with('{') && !at.is_empty()) || of == at)
    };
    let mut meant: Vec<_> =
        operations().into_iter().filter(|(of, at, _)| of == method && is_at(at)).collect();
    meant.sort_by_key(|(_, at, _)| at.contains('{'));
    let Some((_, template, operation)) = meant.first() else { return };
    let status = answer.status().as_u16().to_string();
    let stated = &operation["responses"][&status];
    assert!(stated.is_object(), "{method} {template}: {status} is not documented");
    let Some(kind) = answer.headers().get("content-type") else {
        assert!(body.is_empty() && stated.get("content").is_none(), "{method} {template}");
        return;
    };
    let kind = kind.to_str().unwrap();
    let content = &stated["content"][kind];
    assert!(content.is_object(), "{method} {template}: {status} {kind} is not documented");
    if !kind.ends_with("json") {
        return;
    }
    let body: Value = serde_json::from_slice(body).unwrap();
    let schema = schema_with_components(&content["schema"]);
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    let wrong: Vec<_> = validator.iter_errors(&body).map(|e| format!("{e}")).collect();
    assert!(wrong.is_empty(), "{method} {template} {status}: {wrong:?}\n{body}");
    if let Some(code) = body["code"].as_str().filter(|_| kind.contains("problem")) {
        let examples = content["examples"].as_object().unwrap();
        assert!(examples.contains_key(code), "{method} {template}: `{code}` is not documented");
    }
}

#[test]
fn the_document_has_every_route_with_its_role() {
    let listed: BTreeSet<(String, &str)> = permissions::ROUTES
        .iter()
        .filter(|(_, path, _)| !path.starts_with("/-/"))
        .map(|(method, path, _)| ((*method).to_owned(), *path))
        .collect();
    let documented = operations().into_iter().map(|(method, path, _)| (method, path));
    assert_eq!(documented.collect::<BTreeSet<_>>(), listed);
    for (method, path, operation) in operations() {
        let needs = permissions::needs(&method.parse().unwrap(), Some(path));
        let role = match needs {
            permissions::Needs::Nothing => Value::Null,
            permissions::Needs::NothingHere => json!("read"),
            permissions::Needs::A(role) => json!(role),
        };
        let of_token = operation["security"].as_array().unwrap().iter();
        let stated = of_token.map(|by| &by["token"][0]).find(|role| role.is_string());
        assert_eq!(stated.unwrap_or(&Value::Null), &role, "{method} {path}");
    }
}

#[test]
fn every_operation_is_described_with_its_answers() {
    assert_eq!(DOCUMENT["openapi"], "3.1.0");
    let mut ids = BTreeSet::new();
    for (method, path, operation) in operations() {
        let id = operation["operationId"].as_str().unwrap();
        assert!(ids.insert(id), "{id} is the id of two operations");
        assert!(!operation["summary"].as_str().unwrap_or_default().is_empty(), "{method} {path}");
        assert_eq!(operation["tags"].as_array().unwrap().len(), 1, "{method} {path}");
        let answers = operation["responses"].as_object().unwrap();
        assert!(answers.keys().any(|status| status < &"400".to_owned()), "{method} {path}");
        assert!(answers.contains_key("503"), "{method} {path}");
        let variable = path.matches('{').count();
        let parameters = operation["parameters"].as_array().map(Vec::as_slice).unwrap_or_default();
        let of_path = parameters.iter().filter(|parameter| parameter["in"] == "path").count();
        assert_eq!(of_path, variable, "{method} {path}");
        for parameter in parameters {
            assert!(parameter["schema"].is_object(), "{method} {path}: {parameter}");
        }
    }
}

/// Calls `each` for every reference in a value.
fn references(value: &Value, each: &mut impl FnMut(&str)) {
    match value {
        Value::Object(object) => {
            if let Some(Value::String(to)) = object.get("$ref") {
                each(to);
            }
            object.values().for_each(|value| references(value, each));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, each)),
        _ => {}
    }
}

#[test]
fn every_reference_leads_to_a_schema_that_is_valid() {
    references(&DOCUMENT, &mut |to| {
        let pointer = to.strip_prefix('#').unwrap();
        assert!(DOCUMENT.pointer(pointer).is_some(), "{to} leads nowhere");
    });
    let schemas = DOCUMENT["components"]["schemas"].as_object().unwrap();
    assert!(schemas.len() > 50, "{}", schemas.len());
    for (name, schema) in schemas {
        let made = jsonschema::draft202012::new(&schema_with_components(schema));
        assert!(made.is_ok(), "{name}: {}", made.unwrap_err());
    }
}

#[test]
fn every_code_is_listed_once_for_a_status() {
    let all = [codes::COMMON, codes::PERMISSION, codes::WRITE, codes::NO_ROUTE].into_iter();
    let of_routes = codes::OF_ROUTE.iter().flat_map(|(_, _, codes)| *codes);
    let mut known = BTreeMap::new();
    for code in all.flatten().chain(of_routes) {
        let before = known.insert(code.code, code.status);
        let is_same = before.is_none_or(|status| status == code.status);
        assert!(is_same, "`{}` has two statuses", code.code);
    }
    for (method, path, _) in codes::OF_ROUTE {
        let is_route = operations().iter().any(|(of, at, _)| of == method && at == path);
        assert!(is_route, "{method} {path} is no route");
    }
}

#[tokio::test]
async fn the_document_is_served_to_everyone() {
    let admin = TestAdmin::start().await;
    let request = http::Request::get("/api/openapi.json").header("host", HOST);
    let request = request.body(Body::empty()).unwrap();
    let (status, served) = read(admin.router.clone().call(request).await.unwrap()).await;
    assert_eq!((status, &served), (StatusCode::OK, &*DOCUMENT));
}
