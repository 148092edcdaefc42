//! Tests of the netlink core: encoding, decoding of hostile answers, and the loopback link of this host.

use super::*;

#[test]
fn attributes_are_padded_and_nested() {
    let mut message = Message::new(16, flag::CREATE);
    message.raw(&[1, 2, 3]).put(5, &[9]).nest(7, |m| {
        m.put_str(1, "ab");
    });
    let bytes = message.seal(3, flag::ACK);
    assert_eq!(u32::from_ne_bytes(*bytes.first_chunk().unwrap()) as usize, bytes.len());
    let reply = Reply { kind: 16, payload: bytes[HEADER..].to_vec() };
    assert_eq!(reply.attributes(3).get(5), Some(&[9][..]));
    let nested = Attributes::new(reply.attributes(3).get(7).unwrap());
    assert_eq!(nested.get_str(1), Some("ab"));
}

#[test]
fn malformed_attributes_end_the_iteration() {
    for bytes in [&[3u8, 0, 1, 0][..], &[0, 0, 0, 0], &[255, 255, 1, 0, 1], &[4]] {
        assert_eq!(Attributes::new(bytes).count(), 0, "{bytes:?}");
    }
}

#[test]
fn a_cut_off_answer_is_an_error() {
    let mut bytes = Message::new(NLMSG_DONE, 0).seal(1, 0);
    bytes[0] = 200;
    assert!(Frame::each(&bytes, &mut |_| panic!("no frame")).is_err());
    assert!(Frame::each(&[1, 2, 3], &mut |_| panic!("no frame")).is_err());
}

#[test]
fn the_loopback_link_is_found_and_a_refusal_names_its_message() {
    const RTM_GETLINK: u16 = 18;
    const RTM_DELROUTE: u16 = 25;
    let mut socket = Socket::open(Protocol::Route).unwrap();
    let mut dump = Message::new(RTM_GETLINK, flag::DUMP);
    dump.raw(&[0; 16]);
    let names: Vec<_> = socket
        .query(dump)
        .unwrap()
        .iter()
        .filter_map(|r| r.attributes(16).get_str(3).map(str::to_owned))
        .collect();
    assert!(names.contains(&"lo".to_owned()), "{names:?}");

    let mut good = Message::new(RTM_GETLINK, 0);
    good.raw(&[0; 16]).put_str(3, "lo");
    let mut unknown = Message::new(RTM_GETLINK, 0);
    unknown.raw(&[0; 16]).put_str(3, "klet-none");
    let results = socket.apply(vec![good, unknown]).unwrap();
    assert!(results[0].is_ok());
    assert_eq!(results[1].as_ref().unwrap_err().errno(), Some(libc::ENODEV));
    assert!(matches!(results[1], Err(Error::Refused { index: 1, .. })));

    let mut malformed = Message::new(RTM_DELROUTE, 0);
    malformed.raw(&[0; 4]);
    assert!(socket.request(malformed).is_err());
}
