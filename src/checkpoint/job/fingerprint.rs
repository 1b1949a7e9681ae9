//! A number that tells contents apart. It guards against mix-ups, not against forgery.

use crate::checkpoint::{Checkpoint, ShardFile};
use crate::error::Result;

/// Bytes of one sample of a file, and samples per file.
const SAMPLE: u64 = 4096;
const SAMPLES: u64 = 64;

/// FNV-1a with 128 bits (offset basis and prime: the FNV specification, IETF draft-eastlake-fnv).
pub(super) struct Fingerprint(u128);

impl Fingerprint {
    pub fn new() -> Self {
        Fingerprint(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d)
    }

    pub fn add(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u128::from(byte)).wrapping_mul((1 << 88) + 0x13b);
        }
    }

    pub fn hex(&self) -> String {
        format!("{:032x}", self.0)
    }

    /// Of one run of bytes.
    pub fn of(bytes: &[u8]) -> String {
        let mut fingerprint = Fingerprint::new();
        fingerprint.add(bytes);
        fingerprint.hex()
    }
}

/// The fingerprint of a checkpoint: every tensor's name, type, shape and place, and samples of
/// every file's bytes. The same for every copy of the checkpoint.
pub(super) fn of_checkpoint(checkpoint: &Checkpoint) -> Result<String> {
    let mut fingerprint = Fingerprint::new();
    for tensor in checkpoint.tensors() {
        let place = (tensor.shard, &tensor.range);
        let text = format!("{}\0{:?}\0{}\0{place:?}\0", tensor.name, tensor.dtype, tensor.shape);
        fingerprint.add(text.as_bytes());
    }
    for shard in checkpoint.shards() {
        add_samples(&mut fingerprint, shard)?;
    }
    Ok(fingerprint.hex())
}

/// Samples at even distances, the file's first and last bytes among them.
fn add_samples(fingerprint: &mut Fingerprint, shard: &ShardFile) -> Result<()> {
    let len = shard.len();
    fingerprint.add(&len.to_le_bytes());
    let mut sample = [0; SAMPLE as usize];
    if len <= SAMPLE * SAMPLES {
        for start in (0..len).step_by(SAMPLE as usize) {
            let sample = &mut sample[..SAMPLE.min(len - start) as usize];
            shard.read_at(start, sample)?;
            fingerprint.add(sample);
        }
        return Ok(());
    }
    for i in 0..SAMPLES {
        let start = u128::from(len - SAMPLE) * u128::from(i) / u128::from(SAMPLES - 1);
        shard.read_at(start as u64, &mut sample)?;
        fingerprint.add(&sample);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_fnv1a() {
        // Published test vectors of FNV-1a 128.
        assert_eq!(Fingerprint::of(b""), "6c62272e07bb014262b821756295c58d");
        assert_eq!(Fingerprint::of(b"a"), "d228cb696f1a8caf78912b704e4a8964");
        assert_eq!(Fingerprint::of(b"foobar"), "343e1662793c64bf6f0d3597ba446f18");
    }
}
