//! What no input may do: panic, or make the reader hold much memory.

use proptest::prelude::*;

use super::*;
use crate::testing::LayerTar;

fn read_all(bytes: &[u8]) -> io::Result<Vec<Entry>> {
    let mut reader = TarReader::new(bytes);
    let mut entries = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        entries.push(entry);
    }
    Ok(entries)
}

fn message(bytes: &[u8]) -> String {
    read_all(bytes).unwrap_err().to_string()
}

#[test]
fn pax_records_override_the_header() {
    let tar = LayerTar::default()
        .pax(&[
            ("path", "long/name"),
            ("uid", "70000"),
            ("gid", "80000"),
            ("mtime", "-1.25"),
            ("SCHILY.xattr.user.a", "x\ny"),
            ("comment", "ignored"),
        ])
        .file("short", "data")
        .file("next", "");
    let entries = read_all(&tar.bytes()).unwrap();
    assert_eq!(entries[0].path, b"long/name");
    assert_eq!((entries[0].uid, entries[0].gid), (70000, 80000));
    assert_eq!(entries[0].mtime, (-2, 750_000_000));
    assert_eq!(entries[0].xattrs, [(b"user.a".to_vec(), b"x\ny".to_vec())]);
    assert_eq!((entries[1].path.as_slice(), entries[1].uid), (&b"next"[..], 0));
}

#[test]
fn pax_size_moves_the_next_header() {
    let data = [b'x'; 600];
    let tar = LayerTar::default().pax(&[("size", "600")]);
    let tar = tar.raw(&LayerTar::header(b'0', "big", 0), &data).file("after", "");
    let entries = read_all(&tar.bytes()).unwrap();
    assert_eq!(entries[1].path, b"after");
    assert!(matches!(entries[0].kind, Kind::File { size: 600, .. }));
}

#[test]
fn a_size_on_a_directory_does_not_move_the_next_header() {
    let tar = LayerTar::default().raw(&LayerTar::header(b'5', "d", 512), b"").file("after", "");
    assert_eq!(read_all(&tar.bytes()).unwrap()[1].path, b"after");
}

#[test]
fn refused() {
    let tar = LayerTar::default;
    let mut damaged = tar().file("a", "").bytes();
    damaged[0] ^= 1;
    assert!(message(&damaged).contains("checksum"));
    assert!(message(&tar().file("a", "data").bytes()[..600]).contains("ends inside"));
    assert!(message(&tar().file("a", "").bytes()[..100]).contains("ends inside a header"));
    assert!(message(&tar().pax(&[("size", "-1")]).file("a", "").bytes()).contains("not a number"));
    assert!(
        message(&tar().pax(&[("size", "18446744073709551615")]).file("a", "").bytes())
            .contains("overflows")
    );
    assert!(
        message(&tar().pax(&[("uid", "4294967295")]).file("a", "").bytes())
            .contains("out of range")
    );
    assert!(message(&tar().pax(&[("path", "a\0b")]).file("a", "").bytes()).contains("NUL"));
    assert!(message(&tar().pax(&[("path", "x")]).bytes()).contains("ends after"));
    let nonsense = LayerTar::header(b'x', "pax", 4);
    assert!(message(&tar().raw(&nonsense, b"9 a=").bytes()).contains("malformed"));
    assert!(
        message(&tar().raw(&LayerTar::header(b'Z', "z", 0), b"").bytes())
            .contains("unknown entry type")
    );
    let long = LayerTar::header(b'L', "././@LongLink", MAX_EXTENSION + 1);
    assert!(message(&tar().raw(&long, b"").bytes()).contains("extension header"));
    let endless = "a".repeat(MAX_PATH + 1);
    assert!(message(&tar().pax(&[("path", &endless)]).file("a", "").bytes()).contains("4095"));
}

#[test]
fn sparse_maps_are_checked() {
    let pax = |map: &str, size: &str| {
        let records =
            [("GNU.sparse.major", "0"), ("GNU.sparse.map", map), ("GNU.sparse.size", size)];
        LayerTar::default().pax(&records).file("s", "data").bytes()
    };
    let good = read_all(&pax("2,1,10,3", "100")).unwrap();
    let segments = vec![Segment { offset: 2, length: 1 }, Segment { offset: 10, length: 3 }];
    assert_eq!(good[0].kind, Kind::File { segments, size: 100 });
    for (map, size) in [
        ("0,4,2,0", "3"),
        ("2,2,1,2", "100"),
        ("0,5", "100"),
        ("0,3", "100"),
        ("0", "100"),
        ("18446744073709551615,4", "100"),
        ("0,4", "18446744073709551615"),
    ] {
        assert!(message(&pax(map, size)).contains("sparse map"), "{map} {size}");
    }
}

#[test]
fn zero_blocks_end_the_archive() {
    let mut bytes = LayerTar::default().file("a", "").bytes();
    bytes.extend(LayerTar::default().file("hidden", "").bytes());
    assert_eq!(read_all(&bytes).unwrap().len(), 1);
    let mut lone = vec![0; 512];
    lone.extend(LayerTar::default().file("a", "").bytes());
    assert!(message(&lone).contains("zero block"));
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..4096)) {
        let _ = read_all(&bytes);
    }

    /// Damage behind a correct checksum reaches deeper than random bytes do.
    #[test]
    fn damaged_headers_never_panic(
        kind in prop_oneof![Just(b'S'), Just(b'x'), Just(b'L'), Just(b'K'), Just(b'g'), any::<u8>()],
        damage in proptest::collection::vec((0_usize..512, any::<u8>()), 0..40),
        data in proptest::collection::vec(any::<u8>(), 0..2048),
    ) {
        let mut header = LayerTar::header(kind, "name", data.len() as u64);
        for (at, byte) in damage {
            header.as_mut_bytes()[at] = byte;
        }
        header.set_cksum();
        let _ = read_all(&LayerTar::default().raw(&header, &data).file("after", "x").bytes());
    }
}
