//! Records by table, and the law: however the input is cut, the same text comes back.

use proptest::prelude::*;

use super::*;

const NS: i64 = 1_767_323_045_123_456_789;

fn cut(chunks: &[&[u8]]) -> Vec<u8> {
    let stamp = Stamp::from_unix_ns(NS);
    let mut cutter = Cutter::new(Stream::Stdout);
    let mut out = Vec::new();
    for chunk in chunks {
        cutter.cut(&stamp, chunk, &mut out);
    }
    cutter.finish(&stamp, &mut out);
    out
}

fn records(log: &[u8]) -> Vec<(bool, Vec<u8>)> {
    log.split_inclusive(|byte| *byte == b'\n')
        .map(|line| {
            let line = parse_line(line).expect("what the cutter wrote is a record");
            assert_eq!((line.time, line.stream), (NS, Stream::Stdout));
            assert!(line.payload.len() <= MAX_LOG_LINE_BYTES);
            (line.partial, line.payload.to_vec())
        })
        .collect()
}

#[test]
fn a_record_looks_like_this() {
    let expected = b"2026-01-02T03:04:05.123456789Z stdout F hello\n";
    assert_eq!(cut(&[b"hello\n"]), expected);
}

/// Chunks as they were read, and the records (partial, payload) they become.
type Case<'a> = (&'a [&'a [u8]], Vec<(bool, Vec<u8>)>);

#[test]
fn cuts() {
    let long = vec![b'x'; MAX_LOG_LINE_BYTES];
    let exact = [long.as_slice(), b"\n"].concat();
    let over = [long.as_slice(), b"y\n"].concat();
    let partial = |bytes: &[u8]| (true, bytes.to_vec());
    let full = |bytes: &[u8]| (false, bytes.to_vec());
    #[rustfmt::skip]
    let table: &[Case<'_>] = &[
        (&[b""], vec![]),
        (&[b"a\n\nb\n"], vec![full(b"a"), full(b""), full(b"b")]),
        (&[b"a", b"b\n"], vec![partial(b"a"), full(b"b")]),
        (&[b"a", b"\n"], vec![partial(b"a"), full(b"")]),
        (&[b"a"], vec![partial(b"a"), full(b"")]),
        (&[&exact], vec![full(&long)]),
        (&[&over], vec![partial(&long), full(b"y")]),
        (&[&long], vec![partial(&long), full(b"")]),
        (&[b"\0\xff \n"], vec![full(b"\0\xff ")]),
    ];
    for (chunks, expected) in table {
        assert_eq!(records(&cut(chunks)), *expected);
    }
}

proptest! {
    #[test]
    fn however_it_is_chunked_the_text_is_the_same(
        input in prop::collection::vec(prop_oneof![6 => any::<u8>(), 1 => Just(b'\n')], 0..400),
        repeat in 1usize..120,
        sizes in prop::collection::vec(1usize..40_000, 1..20),
    ) {
        let input: Vec<u8> = input.iter().copied().cycle().take(input.len() * repeat).collect();
        let mut rest = input.as_slice();
        let mut chunks = Vec::new();
        for size in sizes.iter().cycle() {
            if rest.is_empty() { break }
            let (chunk, tail) = rest.split_at(rest.len().min(*size));
            chunks.push(chunk);
            rest = tail;
        }
        let mut back = Vec::new();
        let mut last_partial = false;
        for (partial, payload) in records(&cut(&chunks)) {
            back.extend(payload);
            if !partial { back.push(b'\n') }
            last_partial = partial;
        }
        prop_assert!(!last_partial);
        let mut expected = input;
        if !expected.is_empty() && expected.last() != Some(&b'\n') { expected.push(b'\n') }
        prop_assert_eq!(back, expected);
    }

    #[test]
    fn times_come_back(ns in any::<i64>()) {
        let stamp = Stamp::from_unix_ns(ns);
        // The ends of the range lie within a second that overflows on the way back.
        if ns > i64::MIN + NS_PER_S {
            prop_assert_eq!(parse_time(stamp.as_bytes()), Some(ns));
        }
    }

    #[test]
    fn nothing_read_is_a_panic(line in prop::collection::vec(any::<u8>(), 0..80)) {
        let _ = parse_line(&line);
    }
}

#[test]
fn other_writers_are_understood() {
    let line = parse_line(b"2026-01-02T05:04:05.5+02:00 stderr P:x:y a b\n").unwrap();
    assert_eq!(line.time, 1_767_323_045_500_000_000);
    assert_eq!(
        (line.stream, line.partial, line.payload),
        (Stream::Stderr, true, b"a b".as_slice())
    );
    assert_eq!(parse_line(b"2024-02-29T00:00:00Z stdout F ").unwrap().payload, b"");
}

#[test]
fn what_is_no_record_is_refused() {
    for bad in [
        "",
        "2026-01-02T03:04:05Z stdout F",
        "2026-02-29T03:04:05Z stdout F x",
        "2026-01-02T24:04:05Z stdout F x",
        "2026-01-02T03:04:05 stdout F x",
        "2026-01-02T03:04:05.Z stdout F x",
        "2026-01-02T03:04:05Z stdin F x",
        "2026-01-02T03:04:05Z stdout X x",
        "2026-01-02T03:04:05+0100 stdout F x",
    ] {
        assert_eq!(parse_line(bad.as_bytes()), None, "{bad}");
    }
}

#[test]
fn a_rotated_file_is_named_by_the_second() {
    assert_eq!(Stamp::from_unix_ns(NS).file_suffix(), "20260102-030405");
}
