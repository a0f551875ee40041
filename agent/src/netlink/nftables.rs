//! The packet filter (include/uapi/linux/netfilter/nf_tables.h): tables, chains, rules and sets by their names; what a
//! rule does stands in its expressions, which are named here and whole in the raw answer.

use serde::Serialize;

use super::{array, attributes, byte, dump, messages};
use crate::text::Bytes;

/// `NFNL_SUBSYS_NFTABLES`, in the upper half of a message's type.
const SUBSYSTEM: u16 = 10 << 8;
/// A message begins with its family, a version and a number (`struct nfgenmsg`).
const FIXED: usize = 4;
/// Expressions of one rule that are named.
const EXPRESSIONS_MAX: usize = 256;

/// What can be asked for, each in one dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// The artifact's name.
    pub name: &'static str,
    /// `NFT_MSG_NEW*`; the question is the number after it.
    new: u16,
}

/// All of them.
pub const KINDS: [Kind; 4] = [
    Kind { name: "nft-tables", new: 0 },
    Kind { name: "nft-chains", new: 3 },
    Kind { name: "nft-rules", new: 6 },
    Kind { name: "nft-sets", new: 9 },
];

/// One of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Row {
    /// `NFPROTO_*`: 1 inet, 2 ipv4, 3 arp, 5 netdev, 7 bridge, 10 ipv6.
    family: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    table: Option<Bytes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    chain: Option<Bytes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    set: Option<Bytes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    handle: Option<u64>,
    /// Of a base chain: where it hangs (`NF_INET_*`), and in which order.
    #[serde(skip_serializing_if = "Option::is_none")]
    hook: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<i32>,
    /// What becomes of a packet that no rule decides on: 0 is dropped, 1 goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<u32>,
    /// What a rule is made of.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    expressions: Vec<Bytes>,
}

impl Kind {
    /// The request for all of them, of all families.
    pub fn request(&self) -> Vec<u8> {
        dump(SUBSYSTEM | self.new.saturating_add(1), &[0; FIXED])
    }

    /// What `bytes` (one or more whole datagrams) tell; other messages are passed over.
    pub fn rows(&self, bytes: &[u8]) -> Vec<Row> {
        let answers = messages(bytes).filter(|message| message.kind == SUBSYSTEM | self.new);
        answers.filter_map(|message| self.row(message.body)).collect()
    }

    fn row(&self, body: &[u8]) -> Option<Row> {
        body.get(..FIXED)?;
        let mut row = Row { family: byte(body, 0)?, ..Row::default() };
        for (kind, value) in attributes(body, FIXED) {
            match (self.new, kind) {
                (_, 1) => row.table = Some(name(value)),
                (3, 3) | (6, 2) => row.chain = Some(name(value)),
                (9, 2) => row.set = Some(name(value)),
                (0, 4) | (3, 2) | (6, 3) | (9, 16) => row.handle = array(value, 0).map(u64::from_be_bytes),
                (3, 4) => {
                    for (kind, value) in attributes(value, 0) {
                        match kind {
                            1 => row.hook = number(value),
                            2 => row.priority = array(value, 0).map(i32::from_be_bytes),
                            _ => {}
                        }
                    }
                }
                (3, 5) => row.policy = number(value),
                (6, 4) => {
                    // A list of elements, each of which has a name.
                    let elements = attributes(value, 0).take(EXPRESSIONS_MAX);
                    let first = |element| attributes(element, 0).find(|(kind, _)| *kind == 1);
                    row.expressions = elements
                        .filter_map(|(_, element)| first(element))
                        .map(|(_, text)| name(text))
                        .collect();
                }
                _ => {}
            }
        }
        Some(row)
    }
}

fn number(value: &[u8]) -> Option<u32> {
    array(value, 0).map(u32::from_be_bytes)
}

fn name(value: &[u8]) -> Bytes {
    Bytes::from(value.split(|&byte| byte == 0).next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::message::testing::attribute;
    use super::*;

    fn kind(name: &str) -> Kind {
        *KINDS.iter().find(|kind| kind.name == name).unwrap()
    }

    #[test]
    fn a_base_chain_and_a_rule_are_read() {
        let hook = [attribute(1, &1_u32.to_be_bytes()), attribute(2, &(-5_i32).to_be_bytes())].concat();
        let body = [
            vec![2, 0, 0, 0],
            attribute(1, b"filter\0"),
            attribute(3, b"input\0"),
            attribute(0x8004, &hook),
            attribute(5, &0_u32.to_be_bytes()),
        ];
        let rows = kind("nft-chains").rows(&dump(SUBSYSTEM | 3, &body.concat()));
        assert_eq!((rows[0].family, &rows[0].chain), (2, &Some(Bytes::from("input"))));
        assert_eq!((rows[0].hook, rows[0].priority, rows[0].policy), (Some(1), Some(-5), Some(0)));
        let elements = [
            attribute(0x8001, &attribute(1, b"payload\0")),
            attribute(0x8001, &attribute(1, b"cmp\0")),
            attribute(0x8001, b""),
        ];
        let body = [vec![1, 0, 0, 0], attribute(2, b"input\0"), attribute(0x8004, &elements.concat())];
        let rows = kind("nft-rules").rows(&dump(SUBSYSTEM | 6, &body.concat()));
        assert_eq!(rows[0].expressions, [Bytes::from("payload"), Bytes::from("cmp")]);
    }

    #[test]
    fn short_answers_and_answers_to_something_else_are_left_out() {
        for kind in KINDS {
            assert_eq!(kind.rows(&dump(SUBSYSTEM | kind.new, &[2, 0, 0])), [], "{}", kind.name);
            assert_eq!(kind.rows(&dump(kind.new, &[2; 64])), [], "{}", kind.name);
        }
        let body = [vec![2, 0, 0, 0], attribute(5, &[0, 1]), attribute(0x8004, &[9, 0])].concat();
        let rows = kind("nft-chains").rows(&dump(SUBSYSTEM | 3, &body));
        assert_eq!(rows, [Row { family: 2, ..Row::default() }]);
    }

    proptest! {
        #[test]
        fn any_body_is_read_or_left_out(body: Vec<u8>) {
            for kind in KINDS {
                prop_assert!(kind.rows(&dump(SUBSYSTEM | kind.new, &body)).len() <= 1);
            }
        }
    }
}
