//! nftables messages: tables, chains, rules, sets and their elements, encoded for
//! `NFNL_SUBSYS_NFTABLES` (linux/netfilter/nf_tables.h).

use klet_sys::netlink::{Attributes, Message, Reply, flag};

/// The nfnetlink subsystem of nftables.
pub(crate) const SUBSYSTEM: u8 = 10;

const NEWTABLE: u16 = 0;
const DELTABLE: u16 = 2;
const NEWCHAIN: u16 = 3;
const NEWRULE: u16 = 6;
const GETRULE: u16 = 7;
const NEWSET: u16 = 9;
const NEWSETELEM: u16 = 12;
const GETSETELEM: u16 = 13;
const DELSETELEM: u16 = 14;

/// struct nfgenmsg.
const HEADER: usize = 4;
const FAMILY_INET: u8 = 1;
const LIST_ELEM: u16 = 1;
const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;
const VERDICT_CODE: u16 = 1;
const SET_FLAG_MAP: u32 = 0x8;
const SET_FLAG_CONCAT: u32 = 0x80;
/// Bits per field in the type number of a concatenation (only `nft list` reads it).
const TYPE_BITS: u32 = 6;
/// The first of the 32-bit registers.
const REGISTER: u32 = 8;
const DROP: u32 = 0;

/// One field of a set's key or data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    Address,
    Protocol,
    Port,
}

impl Field {
    /// The type number that `nft` prints and the bytes before padding.
    const fn description(self) -> (u32, u32) {
        match self {
            Self::Address => (7, 4),
            Self::Protocol => (12, 1),
            Self::Port => (13, 2),
        }
    }
}

/// A map from one concatenation to another.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Map {
    pub(crate) name: &'static str,
    pub(crate) id: u32,
    pub(crate) key: &'static [Field],
    pub(crate) data: &'static [Field],
}

/// Key and data of one element, each field padded to four bytes.
pub(crate) type Element = (Vec<u8>, Vec<u8>);

/// A chain on a hook.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Chain {
    pub(crate) name: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) hook: u32,
    pub(crate) priority: i32,
}

/// A comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Is {
    Equal,
    Different,
}

/// What a rule does, one step after another. `slot` counts 32-bit registers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Expr {
    /// Load packet metadata (`NFT_META_*`).
    Meta { key: u32, slot: u32 },
    /// Load from the packet: base (1 network, 2 transport), offset, length.
    Payload { base: u32, offset: u32, length: u32, slot: u32 },
    /// Load a connection tracking value (`NFT_CT_*`).
    Conntrack { key: u32, slot: u32 },
    /// Load the type of the destination address (`fib daddr type`).
    DestinationType { slot: u32 },
    /// Keep the bits of `mask` in the first register.
    Mask(Vec<u8>),
    /// Go on if the first register compares so.
    Compare(Is, Vec<u8>),
    /// Replace the registers by what the map has for them, or leave the rule.
    Lookup(&'static str),
    /// Rewrite the destination to address and port in the first two registers.
    DestinationNat,
    /// Rewrite the source to the address of the outgoing interface, with a random port.
    Masquerade,
    /// Drop the packet.
    Drop,
}

fn message(kind: u16, flags: u16) -> Message {
    let mut message = Message::new(u16::from(SUBSYSTEM) << 8 | kind, flags);
    message.raw(&[FAMILY_INET, 0, 0, 0]);
    message
}

pub(crate) fn new_table(table: &str) -> Message {
    let mut m = message(NEWTABLE, flag::CREATE);
    m.put_str(1, table);
    m
}

pub(crate) fn delete_table(table: &str) -> Message {
    let mut m = message(DELTABLE, 0);
    m.put_str(1, table);
    m
}

pub(crate) fn new_chain(table: &str, chain: &Chain) -> Message {
    let mut m = message(NEWCHAIN, flag::CREATE);
    m.put_str(1, table)
        .put_str(3, chain.name)
        .nest(4, |hook| {
            hook.put_be32(1, chain.hook).put(2, &chain.priority.to_be_bytes());
        })
        .put_str(7, chain.kind);
    m
}

pub(crate) fn new_map(table: &str, map: &Map) -> Message {
    let mut m = message(NEWSET, flag::CREATE);
    m.put_str(1, table)
        .put_str(2, map.name)
        .put_be32(3, SET_FLAG_MAP | SET_FLAG_CONCAT)
        .put_be32(4, type_number(map.key))
        .put_be32(5, padded(map.key))
        .put_be32(6, type_number(map.data))
        .put_be32(7, padded(map.data))
        .nest(9, |description| {
            description.nest(2, |fields| {
                for field in map.key {
                    fields.nest(LIST_ELEM, |f| {
                        f.put_be32(1, field.description().1);
                    });
                }
            });
        })
        .put_be32(10, map.id);
    m
}

pub(crate) fn new_rule(table: &str, chain: &str, steps: &[Expr]) -> Message {
    let mut m = message(NEWRULE, flag::CREATE | flag::APPEND);
    m.put_str(1, table).put_str(2, chain).nest(4, |list| {
        for step in steps {
            encode(list, step);
        }
    });
    m
}

/// Add elements to a map; those that exist with the same data stay as they are.
pub(crate) fn add_elements(table: &str, map: &str, elements: &[Element]) -> Message {
    let mut m = message(NEWSETELEM, flag::CREATE);
    put_elements(&mut m, table, map, elements, true);
    m
}

/// Remove elements from a map; refused if one does not exist.
pub(crate) fn delete_elements(table: &str, map: &str, elements: &[Element]) -> Message {
    let mut m = message(DELSETELEM, 0);
    put_elements(&mut m, table, map, elements, false);
    m
}

pub(crate) fn dump_rules(table: &str) -> Message {
    let mut m = message(GETRULE, flag::DUMP);
    m.put_str(1, table);
    m
}

pub(crate) fn dump_elements(table: &str, map: &str) -> Message {
    let mut m = message(GETSETELEM, flag::DUMP);
    m.put_str(1, table).put_str(2, map);
    m
}

/// Chain of a dumped rule, if it is in `table` (old kernels return all tables).
pub(crate) fn chain_of<'a>(reply: &'a Reply, table: &str) -> Option<&'a str> {
    let attributes = reply.attributes(HEADER);
    (attributes.get_str(1) == Some(table)).then(|| attributes.get_str(2))?
}

/// Elements of one part of a dump.
pub(crate) fn elements_of(reply: &Reply) -> Vec<Element> {
    let value = |element: Attributes<'_>, kind| {
        Some(Attributes::new(element.get(kind)?).get(DATA_VALUE)?.to_vec())
    };
    let list = reply.attributes(HEADER).get(3).unwrap_or_default();
    Attributes::new(list)
        .filter_map(|(_, bytes)| {
            let element = Attributes::new(bytes);
            Some((value(element, 1)?, value(element, 2)?))
        })
        .collect()
}

fn put_elements(m: &mut Message, table: &str, map: &str, elements: &[Element], with_data: bool) {
    m.put_str(1, table).put_str(2, map).nest(3, |list| {
        for (key, data) in elements {
            list.nest(LIST_ELEM, |element| {
                element.nest(1, |k| {
                    k.put(DATA_VALUE, key);
                });
                if with_data {
                    element.nest(2, |d| {
                        d.put(DATA_VALUE, data);
                    });
                }
            });
        }
    });
}

fn type_number(fields: &[Field]) -> u32 {
    fields.iter().fold(0, |number, field| number << TYPE_BITS | field.description().0)
}

fn padded(fields: &[Field]) -> u32 {
    fields.iter().map(|f| f.description().1.next_multiple_of(4)).sum()
}

fn encode(list: &mut Message, step: &Expr) {
    match step {
        Expr::Meta { key, slot } => expression(list, "meta", |e| {
            e.put_be32(1, REGISTER + slot).put_be32(2, *key);
        }),
        Expr::Payload { base, offset, length, slot } => expression(list, "payload", |e| {
            e.put_be32(1, REGISTER + slot)
                .put_be32(2, *base)
                .put_be32(3, *offset)
                .put_be32(4, *length);
        }),
        Expr::Conntrack { key, slot } => expression(list, "ct", |e| {
            e.put_be32(1, REGISTER + slot).put_be32(2, *key);
        }),
        Expr::DestinationType { slot } => expression(list, "fib", |e| {
            // Result: address type. Flags: look at the destination.
            e.put_be32(1, REGISTER + slot).put_be32(2, 3).put_be32(3, 2);
        }),
        Expr::Mask(mask) => expression(list, "bitwise", |e| encode_mask(e, mask)),
        Expr::Compare(is, value) => expression(list, "cmp", |e| {
            e.put_be32(1, REGISTER).put_be32(2, u32::from(*is == Is::Different)).nest(3, |data| {
                data.put(DATA_VALUE, value);
            });
        }),
        Expr::Lookup(map) => expression(list, "lookup", |e| {
            e.put_str(1, map).put_be32(2, REGISTER).put_be32(3, REGISTER);
        }),
        Expr::DestinationNat => expression(list, "nat", |e| {
            // Type: destination. Family: IPv4. Address and port from the first two registers.
            e.put_be32(1, 1).put_be32(2, 2).put_be32(3, REGISTER).put_be32(5, REGISTER + 1);
        }),
        Expr::Masquerade => expression(list, "masq", |e| {
            // NF_NAT_RANGE_PROTO_RANDOM_FULLY.
            e.put_be32(1, 1 << 4);
        }),
        Expr::Drop => expression(list, "immediate", |e| {
            e.put_be32(1, 0).nest(2, |data| {
                data.nest(DATA_VERDICT, |verdict| {
                    verdict.put_be32(VERDICT_CODE, DROP);
                });
            });
        }),
    }
}

fn encode_mask(e: &mut Message, mask: &[u8]) {
    let length = u32::try_from(mask.len()).expect("a mask is a few bytes");
    e.put_be32(1, REGISTER).put_be32(2, REGISTER).put_be32(3, length);
    e.nest(4, |data| {
        data.put(DATA_VALUE, mask);
    });
    e.nest(5, |data| {
        data.put(DATA_VALUE, &vec![0; mask.len()]);
    });
}

fn expression(list: &mut Message, name: &str, fill: impl FnOnce(&mut Message)) {
    list.nest(LIST_ELEM, |element| {
        element.put_str(1, name).nest(2, fill);
    });
}
