//! Signed documents as DSSE v1 has them: what is signed names the type of its payload, and the
//! envelope is JSON that carries the payload's very bytes
//! (<https://github.com/secure-systems-lab/dsse>, protocol.md and envelope.md).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Json, PublicKey, Sha256};

/// The bytes that are signed: the pre-authentication encoding of a payload and its type.
pub fn signed_bytes(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let (type_size, size) = (payload_type.len(), payload.len());
    let mut bytes = format!("DSSEv1 {type_size} {payload_type} {size} ").into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}

/// The envelope of a payload with one signature over its [`signed_bytes`]. `key` is a hint for
/// who checks it, and is not signed.
pub fn envelope(payload_type: &str, payload: &[u8], key: &str, signature: &[u8]) -> Json {
    let signature =
        Json::object([("keyid", key.into()), ("sig", Json::String(STANDARD.encode(signature)))]);
    Json::object([
        ("payload", Json::String(STANDARD.encode(payload))),
        ("payloadType", payload_type.into()),
        ("signatures", Json::Array(vec![signature])),
    ])
}

/// The payload of an envelope that this key signed, if the envelope is exactly as [`envelope`]
/// writes it, and its payload of this type.
pub fn open(envelope: &Json, payload_type: &str, key: &PublicKey) -> Option<Vec<u8>> {
    let (payload, signature) = parts(envelope)?;
    let again = self::envelope(payload_type, &payload, &key.id().to_string(), &signature);
    let is_signed = key.made(&signature, &signed_bytes(payload_type, &payload));
    (again == *envelope && is_signed).then_some(payload)
}

/// The key that an envelope says it was signed by; nothing if it is none.
pub fn signer(envelope: &Json) -> Option<Sha256> {
    match member(signature(envelope)?, "keyid")? {
        Json::String(id) => id.parse().ok(),
        _ => None,
    }
}

/// The payload and the signature, whatever they are worth.
fn parts(envelope: &Json) -> Option<(Vec<u8>, Vec<u8>)> {
    let bytes = |text: &Json| match text {
        Json::String(text) => STANDARD.decode(text).ok(),
        _ => None,
    };
    Some((bytes(member(envelope, "payload")?)?, bytes(member(signature(envelope)?, "sig")?)?))
}

fn signature(envelope: &Json) -> Option<&Json> {
    match member(envelope, "signatures")? {
        Json::Array(signatures) => signatures.first(),
        _ => None,
    }
}

fn member<'a>(document: &'a Json, key: &str) -> Option<&'a Json> {
    match document {
        Json::Object(members) => members.get(key),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_signed_is_what_the_protocol_has_as_its_example() {
        let bytes = signed_bytes("http://example.com/HelloWorld", b"hello world");
        assert_eq!(bytes, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
        assert_eq!(signed_bytes("", b""), b"DSSEv1 0  0 ");
        assert_eq!(signed_bytes("\u{e9}", &[0, 255]), b"DSSEv1 2 \xc3\xa9 2 \x00\xff");
    }

    #[test]
    fn an_envelope_carries_the_payload_as_it_is() {
        let envelope = envelope("type", b"hello world", "key", &[0, 1, 250]);
        let expected = [
            r#"{"payload":"aGVsbG8gd29ybGQ=","payloadType":"type","#,
            r#""signatures":[{"keyid":"key","sig":"AAH6"}]}"#,
        ];
        assert_eq!(envelope.encode(), expected.concat().as_bytes());
    }

    #[test]
    fn an_envelope_is_opened_by_the_key_that_signed_it_alone() {
        use ed25519_dalek::{Signer as _, SigningKey};
        let secret = SigningKey::from_bytes(&[7; 32]);
        let key = PublicKey::from(secret.verifying_key());
        let signed = |id: &str, payload: &[u8]| {
            let signature = secret.sign(&signed_bytes("type", payload)).to_bytes();
            envelope("type", payload, id, &signature)
        };
        let id = key.id().to_string();
        let sound = signed(&id, b"payload");
        assert_eq!(open(&sound, "type", &key), Some(b"payload".to_vec()));
        assert_eq!(signer(&sound), Some(key.id()));
        let other = PublicKey::from(SigningKey::from_bytes(&[8; 32]).verifying_key());
        assert_eq!(open(&sound, "type", &other), None);
        assert_eq!(open(&sound, "another type", &key), None);
        assert_eq!(open(&signed("somebody", b"payload"), "type", &key), None);
        let Json::Object(mut members) = sound else { unreachable!("an envelope is an object") };
        members.insert("more".to_owned(), "x".into());
        assert_eq!(open(&Json::Object(members.clone()), "type", &key), None);
        members.remove("more");
        members.insert("payload".to_owned(), Json::String(STANDARD.encode(b"other")));
        assert_eq!(open(&Json::Object(members), "type", &key), None);
        assert_eq!(open(&Json::Array(Vec::new()), "type", &key), None);
    }
}
