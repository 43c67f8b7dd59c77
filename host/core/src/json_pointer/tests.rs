//! Lookups of pointers: alone, in sets, and against whole documents.

use super::*;
use proptest::prelude::*;

fn found(pointer: &str, json: &str) -> Option<String> {
    let pointer = Pointer::parse(pointer).unwrap();
    pointer.find(json.as_bytes()).unwrap().and_then(scalar_text).map(Cow::into_owned)
}

#[test]
fn pointers_reach_through_objects_arrays_and_escapes() {
    let json = r#"{"a":{"b/c":[10,{"~":"x\ny"}]},"n":12345678901234567890123,"a2":null}"#;
    assert_eq!(found("/a/b~1c/1/~0", json).as_deref(), Some("x\ny"));
    assert_eq!(found("/a/b~1c/0", json).as_deref(), Some("10"));
    assert_eq!(found("/n", json).as_deref(), Some("12345678901234567890123"));
    assert_eq!(found("/a2", json), None);
    assert_eq!(found("/a", json), None);
    assert_eq!(found("/missing/deeper", json), None);
}

#[test]
fn an_unreadable_value_hides_no_other() {
    let pointers = ["/sig/token", "/data/id", "/data/kind"].map(|p| Pointer::parse(p).unwrap());
    let set = PointerSet::new(pointers.clone());
    for unreadable in
        [&b"1e999"[..], br#""\ud800""#, br#"{"\ud800":1}"#, b"{\"\xff\":1}", b"{\"id\":\"\xff\"}"]
    {
        let json = [br#"{"data":"#, unreadable, br#","sig":{"token":"t"}}"#].concat();
        let found = set.lookup(&json).unwrap();
        assert_eq!(found[0].and_then(scalar_text).as_deref(), Some("t"));
        assert_eq!(found[1].map(RawValue::get), None);
        let alone = pointers[0].find(&json).unwrap().unwrap();
        assert_eq!(alone.get(), found[0].unwrap().get());
    }
    assert!(set.lookup(br#"{"data":1e999,"sig":{"token":"t"}"#).is_err());
}

#[test]
fn a_key_that_is_not_text_hides_no_other() {
    let pointer = Pointer::parse("/data/id").unwrap();
    for key in [&br"\ud800"[..], br"\udc00x", br"a\ud800\u0041", b"\xff", b"\xed\xa0\x80"] {
        let json = [b"{\"", key, b"\":0,\"data\":{\"", key, b"\":[],\"id\":\"x\"},\"more\":1}"];
        let json = json.concat();
        let found = pointer.find(&json).unwrap().and_then(scalar_text);
        assert_eq!(found.as_deref(), Some("x"), "{json:?}");
        assert_eq!(pointer.find_unique(&json).unwrap().map(RawValue::get), Some("\"x\""));
        assert_eq!(first_key(&json, |key| key != "data").as_deref(), Some("more"));
    }
}

#[test]
fn a_byte_order_mark_is_not_part_of_a_document() {
    let pointer = Pointer::parse("/id").unwrap();
    let marked = b"\xef\xbb\xbf {\"id\":1}";
    assert_eq!(pointer.find(marked).unwrap().map(RawValue::get), Some("1"));
    assert_eq!(first_byte(marked), Some(b'{'));
    assert_eq!(first_key(marked, |_| true).as_deref(), Some("id"));
    assert_eq!(array_items(b"\xef\xbb\xbf[1,2]", 2).unwrap().len(), 2);
    for two in [&b"\xef\xbb\xbf\xef\xbb\xbf{}"[..], b" \xef\xbb\xbf{}", b"\xef\xbb{}"] {
        assert!(pointer.find(two).is_err(), "{two:?}");
    }
}

#[test]
fn find_every_finds_all_equal_keys() {
    let every = |pointer: &str, json: &str| {
        let found = Pointer::parse(pointer).unwrap().find_every(json.as_bytes()).into_iter();
        found.map(|raw| raw.get().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(every("/a", r#"{"a":1,"b":2,"\u0061":[3]}"#), ["1", "[3]"]);
    assert_eq!(every("/a/b", r#"{"a":{"b":1},"a":7,"a":{"b":2,"b":3}}"#), ["1", "2", "3"]);
    assert_eq!(every("/a/*/b", r#"{"a":[{"b":1},{},{"b":2}]}"#), ["1", "2"]);
    assert_eq!(every("/a/1", r#"{"a":[1,2,3]}"#), ["2"]);
    assert_eq!(every("/a", r#"{"\ud800":0,"a":1,"b":tru"#), ["1"], "up to the fault");
    assert!(every("/a/b", r#"{"a":"b"}"#).is_empty());
}

#[test]
fn the_last_of_two_equal_keys_counts() {
    assert_eq!(found("/id", r#"{"id":"first","id":"last"}"#).as_deref(), Some("last"));
    for last in [r#"{"a":{"id":1},"a":{}}"#, r#"{"a":{"id":1},"a":7}"#] {
        assert_eq!(found("/a/id", last), None, "{last}: nothing is left of the first");
    }
}

#[test]
fn a_duplicate_key_is_refused_only_on_the_path() {
    let once = |pointer: &str, json: &str| {
        let pointer = Pointer::parse(pointer).unwrap();
        pointer.find_each_unique(json.as_bytes()).map(|found| found.len())
    };
    for twice in [
        r#"{"a":{"id":1,"id":1}}"#,
        r#"{"a":{"id":1},"a":{"id":1}}"#,
        r#"{"a":null,"a":{"id":1}}"#,
        r#"{"a":{"\u0069d":1,"id":1}}"#,
    ] {
        assert_eq!(once("/a/id", twice), Err(JsonError::Repeated), "{twice}");
    }
    assert_eq!(once("/a/id", r#"{"b":1,"b":2,"a":{"id":1,"x":1,"x":2}}"#), Ok(1));
    assert_eq!(once("/a/*/id", r#"{"a":[{"id":1},{"id":2}]}"#), Ok(2));
    for twice in [r#"{"a":[{"id":1},{"id":2,"id":2}]}"#, r#"{"a":[],"a":[{"id":1}]}"#] {
        assert_eq!(once("/a/*/id", twice), Err(JsonError::Repeated), "{twice}");
    }
}

#[test]
fn a_pointer_and_one_below_it_are_found_together() {
    let set = PointerSet::new(["/event", "/event/type"].map(|p| Pointer::parse(p).unwrap()));
    let found = set.lookup(br#"{"event":{"type":"message"}}"#).unwrap();
    assert_eq!(found[0].unwrap().get(), r#"{"type":"message"}"#);
    assert_eq!(found[1].unwrap().get(), r#""message""#);
}

#[test]
fn text_after_the_document_makes_it_malformed() {
    let pointer = Pointer::parse("/id").unwrap();
    assert_eq!(pointer.find(br#"{"id":1} {"id":2}"#).err(), Some(JsonError::Malformed));
}

#[test]
fn an_item_without_the_field_gives_none() {
    let pointer = Pointer::parse("/value/*/state").unwrap();
    let found = pointer.find_each(br#"{"value":[{"state":"a"},{}]}"#).unwrap();
    assert_eq!(found.iter().map(|f| f.is_some()).collect::<Vec<_>>(), [true, false]);
}

#[test]
fn too_many_items_are_refused() {
    assert_eq!(array_items(b"[1,2,3]", 2).err(), Some(JsonError::TooMany(2)));
    assert_eq!(array_items(b"{}", 2).err(), Some(JsonError::NotArray));
    assert_eq!(array_items(b" [1, 2]\r\n", 2).unwrap().len(), 2);
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        "[a-c\\\\\"é/~]{0,4}".prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            prop::collection::hash_map("[a-c~/]{0,2}", inner, 0..4)
                .prop_map(|m| serde_json::Value::Object(m.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn lookups_agree_with_the_full_document(doc in json(), path in "(/[a-c0-2]{0,2}){0,4}") {
        let text = serde_json::to_string(&doc).unwrap();
        let pointer = Pointer::parse(&path).unwrap();
        let found = pointer.find(text.as_bytes()).unwrap();
        let found = found.map(|raw| serde_json::from_str::<serde_json::Value>(raw.get()).unwrap());
        prop_assert_eq!(found.as_ref(), doc.pointer(&path));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = Pointer::parse("/a/0").unwrap().find(&bytes);
        let _ = Pointer::parse("/a/*/b").unwrap().find_each(&bytes);
    }
}
