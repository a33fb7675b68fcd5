//! What a rank warns of.

use serde::{Deserialize, Serialize};

/// A warning of one rank. Where several ranks warn about the same, the user sees one of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RankWarning {
    /// Equal in warnings about the same. It is not shown.
    pub about: String,
    /// What is shown, one line.
    pub text: String,
}

/// One that only equal texts are the same as.
impl From<String> for RankWarning {
    fn from(text: String) -> Self {
        Self { about: text.clone(), text }
    }
}

impl From<&str> for RankWarning {
    fn from(text: &str) -> Self {
        text.to_string().into()
    }
}
