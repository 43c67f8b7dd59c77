//! Webhooks that come as forms: signed field by field.

use crate::bed::{Hub, request};

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

const SOURCES: &str = r#"
[sources.adyen]
provider = "adyen"
secrets = ["44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056"]
"#;

#[tokio::test]
async fn a_form_that_is_signed_field_by_field_is_taken_and_soap_is_refused_as_what_it_is() {
    let hub = Hub::of(SOURCES).await;
    let form = "additionalData.hmacSignature=coqCmt%2FIZ4E3CzPvMY8zTjQVL5hYJUiBRg8UU%2BiCWo0%3D&currency=EUR\
                &eventCode=AUTHORISATION&merchantAccountCode=TestMerchant&live=false\
                &merchantReference=TestPayment-1407325143704&pspReference=7914073381342284&success=true&value=1130";
    let post = async |content_type: &str, body: &str| {
        hub.raw(request("/webhook/adyen", &[("content-type", content_type)], body)).await
    };
    let taken = post(FORM.1, form).await;
    assert_eq!((taken.status, &*taken.body), (200, &b"[accepted]"[..]));
    let [event] = &*hub.stored().await else { panic!("not one event") };
    assert_eq!(event.kind.as_str(), "AUTHORISATION");
    for (change, code) in [
        (form.replace("value=1130", "value=1131"), "signature_mismatch"),
        (format!("{form}&value=1"), "field_duplicated"),
    ] {
        assert_eq!(post(FORM.1, &change).await.problem(), (401, code.into()));
    }
    let envelope = "<soap:Envelope xmlns:soap=\"http://schemas.xmlsoap.org/soap/envelope/\"/>";
    for content_type in ["text/xml; charset=utf-8", "application/soap+xml"] {
        let refused = post(content_type, envelope).await.problem();
        assert_eq!(refused, (415, "content_type_unsupported".into()));
    }
    assert_eq!(hub.stored().await.len(), 1);
}
