//! What stands on the kernel's command line, which the launch measurement covers.

use std::net::Ipv4Addr;

use crate::{Doing, Stop};

/// What concerns this image; other words are the kernel's.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct CommandLine {
    pub(crate) disks: Vec<VerityDisk>,
    pub(crate) network: Option<Network>,
}

/// `cube.disk=NAME,ROOT,SALT,BLOCKS`: a disk by its serial number, and what its first blocks have to hash to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct VerityDisk {
    pub(crate) name: String,
    /// SHA-256 at the top of the hash tree.
    pub(crate) root: [u8; 32],
    pub(crate) salt: [u8; 32],
    /// Of 4096 bytes each; the hash tree lies behind them.
    pub(crate) blocks: u64,
}

/// `cube.net=ADDRESS/PREFIX,GATEWAY`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Network {
    pub(crate) address: Ipv4Addr,
    pub(crate) prefix: u8,
    pub(crate) gateway: Ipv4Addr,
}

impl CommandLine {
    pub(crate) fn of_the_kernel() -> Result<Self, Stop> {
        let text = std::fs::read_to_string("/proc/cmdline").doing("reading /proc/cmdline")?;
        Self::parse(&text).map_err(|word| Stop { doing: "kernel command line".to_owned(), why: word })
    }

    /// An error names the word that cannot be read: a word that is passed over would be a check that is passed over.
    fn parse(text: &str) -> Result<Self, String> {
        let mut read = Self::default();
        for word in text.split_whitespace() {
            let Some((key, value)) = word.strip_prefix("cube.").and_then(|word| word.split_once('=')) else {
                if word.starts_with("cube.") {
                    return Err(word.to_owned());
                }
                continue;
            };
            match key {
                "disk" => read.disks.push(disk(value).ok_or_else(|| word.to_owned())?),
                "net" if read.network.is_none() => {
                    read.network = Some(network(value).ok_or_else(|| word.to_owned())?);
                }
                _ => return Err(word.to_owned()),
            }
        }
        Ok(read)
    }
}

fn disk(value: &str) -> Option<VerityDisk> {
    let parts: Vec<_> = value.split(',').collect();
    let [name, root, salt, blocks] = parts.as_slice() else { return None };
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    // A serial number of virtio has 20 bytes at most.
    if !(1..=20).contains(&name.len()) || !name.bytes().all(plain) {
        return None;
    }
    let digest = |text: &str| hex::decode(text).ok()?.try_into().ok();
    let blocks = blocks.parse().ok().filter(|blocks| *blocks > 0)?;
    Some(VerityDisk { name: (*name).to_owned(), root: digest(root)?, salt: digest(salt)?, blocks })
}

fn network(value: &str) -> Option<Network> {
    let (own, gateway) = value.split_once(',')?;
    let (address, prefix) = own.split_once('/')?;
    let prefix = prefix.parse().ok().filter(|prefix| *prefix <= 32)?;
    Some(Network { address: address.parse().ok()?, prefix, gateway: gateway.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_and_network_are_read_and_the_kernels_own_words_passed_over() {
        let (root, salt) = ("ab".repeat(32), "cd".repeat(32));
        let text =
            format!("console=ttyS0 cube.disk=model,{root},{salt},7 cube.net=10.0.2.15/24,10.0.2.2 quiet\n");
        let read = CommandLine::parse(&text).unwrap();
        assert_eq!(
            read.disks,
            [VerityDisk { name: "model".to_owned(), root: [0xab; 32], salt: [0xcd; 32], blocks: 7 }]
        );
        assert_eq!(read.network.unwrap().prefix, 24);
    }

    #[test]
    fn a_word_of_ours_that_cannot_be_read_is_an_error() {
        let digest = "ab".repeat(32);
        for word in [
            "cube.disk".to_owned(),
            "cube.disk=".to_owned(),
            format!("cube.disk=model,{digest},{digest}"),
            format!("cube.disk=model,{digest},{digest},0"),
            format!("cube.disk=model,abcd,{digest},7"),
            format!("cube.disk=../a,{digest},{digest},7"),
            "cube.net=10.0.2.15,10.0.2.2".to_owned(),
            "cube.net=10.0.2.15/33,10.0.2.2".to_owned(),
            "cube.other=1".to_owned(),
        ] {
            assert_eq!(CommandLine::parse(&format!("quiet {word}")), Err(word));
        }
        assert!(CommandLine::parse("cube.net=10.0.0.2/8,10.0.0.1 cube.net=10.0.0.3/8,10.0.0.1").is_err());
    }
}
