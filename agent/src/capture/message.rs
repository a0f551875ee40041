//! What the supervisor and the seal worker say to each other: JSON Lines over pipes.

use serde::{Deserialize, Serialize};

use crate::bundle::seal::{Ended, Sealed};

/// To the seal worker.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToSeal {
    /// Close the bag; this is how the collector ended.
    Close {
        /// How.
        ended: Ended,
    },
    /// The answer to [`FromSeal::Sign`].
    Signature {
        /// The armoured signature, or why there is none.
        signature: Result<String, String>,
    },
}

/// From the seal worker.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromSeal {
    /// Sign this: the whole of `tagmanifest-sha256.txt`.
    Sign {
        /// Its text.
        tag_manifest: String,
    },
    /// Done.
    Sealed(Sealed),
    /// It cannot be done.
    Failed {
        /// Why.
        reason: String,
    },
}
