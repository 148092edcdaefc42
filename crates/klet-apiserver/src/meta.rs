//! Parts of every object's metadata that the server sets: times, UIDs, random names.

use jiff::{Timestamp, Unit};
use serde_json::{Map, Value};

/// Letters of generated names: no vowels (no words), nothing that looks alike.
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// Now, to the second, as `metav1.Time` is written.
pub(crate) fn now() -> String {
    seconds(Timestamp::now())
}

/// A time to the second in UTC.
pub(crate) fn seconds(time: Timestamp) -> String {
    let whole = time.round(Unit::Second).unwrap_or(time);
    // Rounding up would put a fresh object into the future.
    let whole = if whole > time { whole - jiff::SignedDuration::from_secs(1) } else { whole };
    whole.to_string()
}

/// A random (version 4) UUID.
pub(crate) fn uid() -> String {
    let mut bytes = random::<16>();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = |part: &[u8]| part.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let parts = [&bytes[..4], &bytes[4..6], &bytes[6..8], &bytes[8..10], &bytes[10..]];
    parts.map(hex).join("-")
}

/// `prefix` and five random letters; the prefix is cut so that the name fits 63 bytes.
pub(crate) fn generated_name(prefix: &str) -> String {
    let mut name: String = prefix.chars().take(63 - 5).collect();
    for byte in random::<5>() {
        name.push(char::from(ALPHABET[usize::from(byte) % ALPHABET.len()]));
    }
    name
}

/// The time in nanoseconds as sixteen hexadecimal digits, for event names: by name, as they are
/// listed, events are in the order in which they happened.
pub(crate) fn hex16() -> String {
    format!("{:016x}", Timestamp::now().as_nanosecond())
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the kernel's random source always answers after boot");
    bytes
}

/// A string field of `metadata`.
pub(crate) fn field<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    object.get("metadata")?.get(name)?.as_str().filter(|text| !text.is_empty())
}

/// `metadata`, made if missing; `None` when the object or its metadata is no map.
pub(crate) fn metadata(object: &mut Value) -> Option<&mut Map<String, Value>> {
    let object = object.as_object_mut()?;
    let metadata = object.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
    metadata.as_object_mut()
}

#[cfg(test)]
mod tests {
    use super::{generated_name, seconds, uid};
    use jiff::Timestamp;

    #[test]
    fn uids_are_version_4() {
        let uid = uid();
        assert_eq!(uid.len(), 36);
        assert_eq!(uid.as_bytes()[14], b'4');
        assert!(b"89ab".contains(&uid.as_bytes()[19]));
    }

    #[test]
    fn times_are_cut_to_the_second() {
        let time: Timestamp = "2026-01-02T03:04:05.999Z".parse().unwrap();
        assert_eq!(seconds(time), "2026-01-02T03:04:05Z");
    }

    #[test]
    fn generated_names_fit_a_label() {
        assert_eq!(generated_name("web-").len(), 9);
        assert_eq!(generated_name(&"x".repeat(80)).len(), 63);
    }
}
