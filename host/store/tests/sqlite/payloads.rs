//! Packed payloads are read back as they were stored, with and without a dictionary.

use crate::common::*;
use crate::test_store::TestStore;

#[tokio::test]
async fn payloads_are_read_back_before_and_after_a_dictionary() {
    let test = TestStore::with(|o| o.dictionary_after = 50).await;
    let text =
        |n: usize| format!(r#"{{"action":"opened","number":{n},"repository":"octo/hello-world"}}"#);
    let mut ids = Vec::new();
    let mut trained = false;
    for n in 0..20_000 {
        let mut request = request(&n.to_string(), &[]);
        request.payload = payload(&text(n));
        ids.push(stored(&test.ingest(request).await));
        trained = n > 50 && dictionaries(&test) > 0;
        if trained && n % 50 == 0 {
            break;
        }
    }
    assert!(trained, "no dictionary after {} events", ids.len());
    for (n, id) in ids.iter().enumerate() {
        let found = test.store().event(*id).await.unwrap().unwrap();
        assert_eq!(&*found.payload.unwrap().body, text(n).as_bytes());
    }
    test.assert_sound().await;
}

fn dictionaries(test: &TestStore) -> i64 {
    let conn = rusqlite::Connection::open(test.path()).unwrap();
    conn.query_row("SELECT count(*) FROM payload WHERE codec = 2", [], |row| row.get(0)).unwrap()
}
