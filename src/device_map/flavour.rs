//! Whose way of computing a device map.

use crate::plan::Profile;

/// A version of transformers with the accelerate it uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flavour {
    /// transformers 4.41 with accelerate 0.30.
    V441,
    /// transformers 4.57 with accelerate 1.12.
    V457,
    /// transformers 5.23, which has its own code for it.
    V523,
}

impl Flavour {
    /// The flavour's name in words.
    pub const fn name(self) -> &'static str {
        match self {
            Flavour::V441 => "transformers 4.41",
            Flavour::V457 => "transformers 4.57",
            Flavour::V523 => "transformers 5.23",
        }
    }

    pub(super) fn is_v5(self) -> bool {
        self == Flavour::V523
    }
}

impl From<Profile> for Flavour {
    fn from(profile: Profile) -> Self {
        match profile {
            Profile::Portable | Profile::V5 => Flavour::V523,
            Profile::V4 => Flavour::V457,
            Profile::V441 => Flavour::V441,
        }
    }
}
