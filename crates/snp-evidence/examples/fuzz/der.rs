//! Changes to certificates and lists that leave them DER, so that they reach deeper than damage does.

use crate::rng::Rng;

#[derive(Clone)]
enum Node {
    Inner(u8, Vec<Node>),
    Leaf(u8, Vec<u8>),
}

/// The same structure with one element changed, or plain damage.
pub(crate) fn mutate(der: &[u8], others: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    let Some(mut nodes) = parse(der) else { return damaged(der, rng) };
    if rng.below(4) == 0 {
        return damaged(der, rng);
    }
    let donor = parse(rng.one(others).as_slice()).unwrap_or_default();
    change(&mut nodes, &donor, rng);
    nodes.iter().flat_map(encode).collect()
}

fn damaged(der: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = der.to_vec();
    if rng.below(3) == 0 {
        rng.resize(&mut bytes);
    } else {
        rng.flip(&mut bytes);
    }
    bytes
}

fn parse(mut der: &[u8]) -> Option<Vec<Node>> {
    let mut nodes = Vec::new();
    while let [tag, first, ..] = *der {
        let (header, length) = match first {
            0..=0x7F => (2, usize::from(first)),
            0x81 => (3, usize::from(*der.get(2)?)),
            0x82 => (4, usize::from(u16::from_be_bytes([*der.get(2)?, *der.get(3)?]))),
            _ => return None,
        };
        let (element, rest) = der.split_at_checked(header + length)?;
        let content = &element[header..];
        let inner = (tag & 0x20 != 0).then(|| parse(content)).flatten();
        nodes.push(inner.map_or_else(|| Node::Leaf(tag, content.to_vec()), |inner| Node::Inner(tag, inner)));
        der = rest;
    }
    der.is_empty().then_some(nodes)
}

fn encode(node: &Node) -> Vec<u8> {
    let (tag, content) = match node {
        Node::Inner(tag, inner) => (*tag, inner.iter().flat_map(encode).collect()),
        Node::Leaf(tag, content) => (*tag, content.clone()),
    };
    let [high, low] = u16::try_from(content.len()).unwrap_or(u16::MAX).to_be_bytes();
    let mut out = match content.len() {
        0..=0x7F => vec![tag, low],
        0x80..=0xFF => vec![tag, 0x81, low],
        _ => vec![tag, 0x82, high, low],
    };
    out.extend(content);
    out
}

/// Walks down to one list of siblings and changes it.
fn change(nodes: &mut Vec<Node>, donor: &[Node], rng: &mut Rng) {
    if nodes.is_empty() {
        return nodes.push(Node::Leaf(rng.byte(), vec![rng.byte()]));
    }
    let at = rng.below(nodes.len());
    if let Node::Inner(_, inner) = &mut nodes[at]
        && rng.below(6) != 0
    {
        return change(inner, donor, rng);
    }
    match rng.below(7) {
        0 => drop(nodes.remove(at)),
        1 => nodes.insert(at, nodes[at].clone()),
        2 => nodes.rotate_left(at),
        3 => nodes[at] = any(donor, rng).unwrap_or(Node::Leaf(5, Vec::new())),
        4 => match &mut nodes[at] {
            Node::Inner(tag, _) | Node::Leaf(tag, _) => *tag ^= 1 << rng.below(8),
        },
        _ => match &mut nodes[at] {
            Node::Leaf(_, content) => edit(content, rng),
            Node::Inner(_, inner) => drop(inner.pop()),
        },
    }
}

fn edit(content: &mut Vec<u8>, rng: &mut Rng) {
    match rng.below(4) {
        0 => rng.flip(content),
        1 => rng.fill(content),
        2 if !content.is_empty() => rng.resize(content),
        _ => content.push(rng.byte()),
    }
}

/// Some element of another certificate.
fn any(nodes: &[Node], rng: &mut Rng) -> Option<Node> {
    let node = nodes.get(rng.below(nodes.len()))?;
    match node {
        Node::Inner(_, inner) if rng.below(4) != 0 => any(inner, rng).or_else(|| Some(node.clone())),
        Node::Inner(..) | Node::Leaf(..) => Some(node.clone()),
    }
}
