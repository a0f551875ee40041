//! Interfaces, addresses, routes, rules and neighbours (rtnetlink(7)).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::Serialize;

use super::{array, attributes, byte, dump, family, messages, short, word};
use crate::text::{self, Bytes};

/// What can be asked for: one dump each, of all address families.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// The artifact's name.
    pub name: &'static str,
    get: u16,
    /// Bytes of the fixed part of a request and of an answer.
    fixed: usize,
    parse: fn(&[u8]) -> Option<Row>,
}

/// All of them.
pub const KINDS: [Kind; 5] = [
    Kind { name: "interfaces", get: 18, fixed: 16, parse: interface },
    Kind { name: "addresses", get: 22, fixed: 8, parse: address },
    Kind { name: "routes", get: 26, fixed: 12, parse: route },
    Kind { name: "rules", get: 34, fixed: 12, parse: rule },
    Kind { name: "neighbours", get: 30, fixed: 12, parse: neighbour },
];

/// One of them. What the kernel did not say is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Row {
    /// `inet`, `inet6`, or the number of another family.
    #[serde(skip_serializing_if = "Option::is_none")]
    family: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    interface: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<Bytes>,
    /// An address of the link layer, or what a route or rule leads to.
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    table: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mark: Option<u32>,
    /// The kernel's number of its type (`RTN_*`, `FR_ACT_*`) or its state (`NUD_*`).
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<u32>,
    /// Who made it (`RTPROT_*`).
    #[serde(skip_serializing_if = "Option::is_none")]
    protocol: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    flags: Option<u32>,
    /// How many listeners hear all that passes an interface.
    #[serde(skip_serializing_if = "Option::is_none")]
    promiscuous: Option<u32>,
}

impl Kind {
    /// The request for all of them.
    pub fn request(&self) -> Vec<u8> {
        dump(self.get, &vec![0; self.fixed])
    }

    /// What `bytes` (one or more whole datagrams) tell; other messages are passed over.
    pub fn rows(&self, bytes: &[u8]) -> Vec<Row> {
        let answers = messages(bytes).filter(|message| message.kind == self.get.saturating_sub(2));
        answers.filter_map(|message| (self.parse)(message.body)).collect()
    }
}

fn interface(body: &[u8]) -> Option<Row> {
    let mut row = Row { interface: word(body, 4), flags: word(body, 8), ..Row::default() };
    for (kind, value) in attributes(body, 16) {
        match kind {
            1 => row.link = Some(text::hex(value)),
            3 => row.name = Some(name(value)),
            30 => row.promiscuous = word(value, 0),
            _ => {}
        }
    }
    row.interface.is_some().then_some(row)
}

fn address(body: &[u8]) -> Option<Row> {
    let mut row = Row { family: family_name(body), interface: Some(word(body, 4)?), ..Row::default() };
    for (kind, value) in attributes(body, 8) {
        match kind {
            1 | 2 => row.address = ip(value).map(|ip| format!("{ip}/{}", byte(body, 1).unwrap_or(0))),
            3 => row.name = Some(name(value)),
            _ => {}
        }
    }
    Some(row)
}

fn route(body: &[u8]) -> Option<Row> {
    let mut row = Row {
        family: family_name(body),
        table: Some(byte(body, 4)?.into()),
        protocol: byte(body, 5),
        kind: byte(body, 7).map(u32::from),
        flags: Some(word(body, 8)?),
        ..Row::default()
    };
    for (kind, value) in attributes(body, 12) {
        match kind {
            1 => row.address = prefix(value, body, 1),
            2 => row.source = prefix(value, body, 2),
            4 => row.interface = word(value, 0),
            5 => row.gateway = ip(value).map(|ip| ip.to_string()),
            6 => row.priority = word(value, 0),
            15 => row.table = word(value, 0),
            _ => {}
        }
    }
    Some(row)
}

fn rule(body: &[u8]) -> Option<Row> {
    let mut row = Row {
        family: family_name(body),
        table: Some(byte(body, 4)?.into()),
        kind: byte(body, 7).map(u32::from),
        flags: Some(word(body, 8)?),
        ..Row::default()
    };
    for (kind, value) in attributes(body, 12) {
        match kind {
            1 => row.address = prefix(value, body, 1),
            2 => row.source = prefix(value, body, 2),
            3 => row.name = Some(name(value)),
            6 => row.priority = word(value, 0),
            10 => row.mark = word(value, 0),
            15 => row.table = word(value, 0),
            _ => {}
        }
    }
    Some(row)
}

fn neighbour(body: &[u8]) -> Option<Row> {
    let mut row = Row {
        family: family_name(body),
        interface: Some(word(body, 4)?),
        kind: short(body, 8).map(u32::from),
        flags: byte(body, 10).map(u32::from),
        ..Row::default()
    };
    for (kind, value) in attributes(body, 12) {
        match kind {
            1 => row.address = ip(value).map(|ip| ip.to_string()),
            2 => row.link = Some(text::hex(value)),
            _ => {}
        }
    }
    Some(row)
}

fn family_name(body: &[u8]) -> Option<String> {
    Some(match byte(body, 0)? {
        family::INET => "inet".to_owned(),
        family::INET6 => "inet6".to_owned(),
        other => other.to_string(),
    })
}

fn ip(value: &[u8]) -> Option<IpAddr> {
    match value.len() {
        4 => Some(Ipv4Addr::from(array::<4>(value, 0)?).into()),
        16 => Some(Ipv6Addr::from(array::<16>(value, 0)?).into()),
        _ => None,
    }
}

/// An address with the length of its prefix, which stands at `at` of the fixed part.
fn prefix(value: &[u8], body: &[u8], at: usize) -> Option<String> {
    Some(format!("{}/{}", ip(value)?, byte(body, at)?))
}

fn name(value: &[u8]) -> Bytes {
    Bytes::from(value.split(|&byte| byte == 0).next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn answer(kind: u16, fixed: &[u8], attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut body = fixed.to_vec();
        for (kind, value) in attributes {
            body.extend(u16::try_from(4 + value.len()).unwrap().to_ne_bytes());
            body.extend(kind.to_ne_bytes());
            body.extend(*value);
            body.resize(body.len().next_multiple_of(4), 0);
        }
        dump(kind, &body)
    }

    fn kind(name: &str) -> Kind {
        *KINDS.iter().find(|kind| kind.name == name).unwrap()
    }

    #[test]
    fn a_route_and_a_neighbour_are_read() {
        let fixed = [2, 24, 0, 0, 254, 4, 0, 1, 0, 0, 0, 0];
        let two = 2_u32.to_ne_bytes();
        let bytes = answer(24, &fixed, &[(1, &[192, 0, 2, 0]), (4, &two), (5, &[192, 0, 2, 1]), (15, &two)]);
        let rows = kind("routes").rows(&bytes);
        assert_eq!(rows[0].address.as_deref(), Some("192.0.2.0/24"));
        assert_eq!(
            (rows[0].gateway.as_deref(), rows[0].interface, rows[0].table),
            (Some("192.0.2.1"), Some(2), Some(2))
        );
        let mut fixed = vec![10, 0, 0, 0];
        fixed.extend(two);
        fixed.extend([4, 0, 0, 0]);
        let bytes = answer(28, &fixed, &[(1, &[0; 16]), (2, &[1, 2, 3, 4, 5, 6])]);
        let rows = kind("neighbours").rows(&bytes);
        assert_eq!((rows[0].address.as_deref(), rows[0].link.as_deref()), (Some("::"), Some("010203040506")));
    }

    #[test]
    fn short_answers_and_answers_to_something_else_are_left_out() {
        for kind in KINDS {
            for length in 0..4 {
                assert_eq!(kind.rows(&dump(kind.get - 2, &vec![2; length])), [], "{} {length}", kind.name);
            }
            assert_eq!(kind.rows(&dump(kind.get, &[2; 64])), [], "{}", kind.name);
        }
        let bytes = answer(24, &[2, 24, 0, 0, 254, 4, 0, 1, 0, 0, 0, 0], &[(1, &[1, 2, 3]), (4, &[1])]);
        let rows = kind("routes").rows(&bytes);
        assert_eq!((&rows[0].address, rows[0].interface), (&None, None));
    }

    proptest! {
        #[test]
        fn any_body_is_read_or_left_out(body: Vec<u8>) {
            for kind in KINDS {
                prop_assert!(kind.rows(&dump(kind.get - 2, &body)).len() <= 1);
            }
        }
    }
}
