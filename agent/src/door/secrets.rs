//! Whom the door lets in: tokens, kept hashed, and webhook secrets, in `keys/tokens.json`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// All who are let in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secrets {
    /// In the order they were made.
    pub tokens: Vec<Token>,
}

/// One who is let in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Its name: unique, for the list and the custody record.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// The only sender it may be, if it is bound to one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sender: Option<String>,
    /// When it was made.
    pub created: Timestamp,
    /// How it proves itself.
    #[serde(flatten)]
    pub proof: Proof,
}

/// How a sender or a person proves who they are.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Proof {
    /// By a token whose SHA-256 this is, in hexadecimal. The token itself is kept nowhere.
    TokenSha256(String),
    /// By Standard Webhooks signatures with this secret (`whsec_` and base64). HMAC needs the secret itself.
    WebhookSecret(String),
}

/// What a token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Send triggers.
    Trigger,
    /// Read captures and bundles.
    Read,
    /// Both.
    Admin,
}

impl std::fmt::Debug for Proof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::TokenSha256(_) => "TokenSha256(..)",
            Self::WebhookSecret(_) => "WebhookSecret(..)",
        })
    }
}
