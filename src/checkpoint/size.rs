//! Sizes as people write them: `5GB`.

use crate::error::{Result, err};

/// The shard size of transformers 4 and of this library, in bytes.
pub const DEFAULT_MAX_SHARD_SIZE: u64 = 5_000_000_000;

const UNITS: [(&str, f64); 4] = [("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("KB", 1e3)];

/// Reads a size as huggingface_hub does: a number, decimals allowed, and a decimal unit in any case
/// (`TB`, `GB`, `MB`, `KB`); `GiB` and its kin are refused. A bare whole number counts bytes.
pub fn parse_size(text: &str) -> Result<u64> {
    let trimmed = text.trim();
    if !trimmed.is_empty() && trimmed.bytes().all(|b| b.is_ascii_digit()) {
        let bytes =
            trimmed.parse().map_err(|_| err!(InvalidArgument, "size '{text}': more than 2^64 bytes"))?;
        return at_least_one(bytes, text);
    }
    let cut = trimmed.char_indices().rev().nth(1).map_or(0, |(i, _)| i);
    let (number, unit) = trimmed.split_at(cut);
    let unit = unit.to_uppercase();
    let Some((_, factor)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        return Err(err!(
            InvalidArgument,
            "Unit '{unit}' not supported. Supported units are TB, GB, MB, KB. Got '{trimmed}'."
        ));
    };
    let number = number.trim();
    let value: f64 = number.parse().map_err(|_| {
        err!(InvalidArgument, "Could not parse the size value from '{trimmed}': '{number}' is not a number")
    })?;
    let bytes = value * factor;
    if !(bytes.is_finite() && bytes < 1.8e19) {
        return Err(err!(InvalidArgument, "size '{trimmed}': out of range"));
    }
    // Negative and below one byte: both end as zero here.
    at_least_one(bytes as u64, trimmed)
}

fn at_least_one(bytes: u64, text: &str) -> Result<u64> {
    match bytes {
        0 => Err(err!(InvalidArgument, "size '{text}': must be at least one byte")),
        n => Ok(n),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_hub_reads() {
        // Values of huggingface_hub's parse_size_to_int.
        for (text, bytes) in [
            ("5GB", 5_000_000_000),
            ("500mb", 500_000_000),
            (" 1.5 Tb ", 1_500_000_000_000),
            ("2.3KB", 2300),
            ("0.001KB", 1),
            ("1e3KB", 1_000_000),
            ("1.1GB", 1_100_000_000),
        ] {
            assert_eq!(parse_size(text).unwrap(), bytes, "{text}");
        }
        assert_eq!(parse_size("12345").unwrap(), 12345);
        assert_eq!(
            parse_size("5GiB").unwrap_err().to_string(),
            "Unit 'IB' not supported. Supported units are TB, GB, MB, KB. Got '5GiB'."
        );
        for bad in
            ["", "GB", "5", "5 ", "xGB", "nanGB", "infGB", "1e30TB", "-5GB", "0KB", "0", "5B", "5é", "é"]
        {
            assert_eq!(parse_size(bad).is_err(), !matches!(bad, "5" | "5 "), "{bad:?}");
        }
    }
}
