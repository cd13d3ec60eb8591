//! The page by which OVMF recognises the kernel that it was launched with.

use std::io::{self, Read};

use aws_lc_rs::digest::{Context, SHA256};

use crate::{PAGE, firmware::guid};

/// Digests of what QEMU's `-kernel`, `-initrd` and `-append` name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernel {
    image: [u8; 32],
    initrd: [u8; 32],
    command_line: [u8; 32],
}

impl Kernel {
    /// From the digests of the whole files ([`sha256`]); without an initrd give that of no bytes. The command line
    /// is what stands behind `-append`, empty where it is left out.
    pub fn new(image: [u8; 32], initrd: [u8; 32], command_line: &str) -> Self {
        // QEMU hashes the command line with its final NUL.
        let mut context = Context::new(&SHA256);
        context.update(command_line.as_bytes());
        context.update(&[0]);
        Self { image, initrd, command_line: finish(context) }
    }

    /// The page with the table at `offset`, which leaves it room. Layout: QEMU, `target/i386/sev.c`.
    pub(crate) fn page(&self, offset: usize) -> Vec<u8> {
        let mut page = vec![0; offset];
        page.extend_from_slice(&guid(0x9438_d606_4f22_4cc9_b479_a793_d411_fd21));
        page.extend_from_slice(&TABLE_SIZE.to_le_bytes());
        for (kind, digest) in [
            (guid(0x97d0_2dd8_bd20_4c94_aa78_e771_4d36_ab2a), &self.command_line),
            (guid(0x44ba_f731_3a2f_4bd7_9af1_41e2_9169_781d), &self.initrd),
            (guid(0x4de7_9437_abd2_427f_b835_d5b1_72d2_045b), &self.image),
        ] {
            page.extend_from_slice(&kind);
            page.extend_from_slice(&ENTRY_SIZE.to_le_bytes());
            page.extend_from_slice(digest);
        }
        page.resize(PAGE, 0);
        page
    }
}

/// SHA-256 of all that `from` gives; for a slice it cannot fail.
pub fn sha256(mut from: impl Read) -> io::Result<[u8; 32]> {
    let mut context = Context::new(&SHA256);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(finish(context)),
            Ok(read) => context.update(buffer.get(..read).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn finish(context: Context) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(context.finish().as_ref());
    out
}

/// GUID, length, SHA-256.
const ENTRY_SIZE: u16 = 16 + 2 + 32;
/// GUID, length, three entries; QEMU pads it to a multiple of 16 with zeros.
const TABLE_SIZE: u16 = 16 + 2 + 3 * ENTRY_SIZE;
/// What the table needs in its page, padding included.
pub(crate) const PADDED_TABLE_SIZE: usize = (TABLE_SIZE as usize).next_multiple_of(16);
