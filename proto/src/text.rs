//! A text in several languages.

use crate::wire;

/// Most languages of one text.
pub const MAX_LANGUAGES: usize = 64;
/// Longest text in bytes.
pub const MAX_TEXT_BYTES: usize = 2000;

/// Why a text was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// No language, or too many.
    #[error("a text needs 1 to {MAX_LANGUAGES} languages, this has {0}")]
    Languages(usize),
    /// Not a language tag.
    #[error("{0:?} is not a language tag: write it like \"de\" or \"pt-br\"")]
    Language(String),
    /// The same language twice.
    #[error("the language {0:?} stands twice")]
    Repeated(String),
    /// Empty, too long, or with control characters.
    #[error("the text in {0:?} is empty, longer than {MAX_TEXT_BYTES} bytes, or has control characters")]
    Text(String),
}

/// A text in one or more languages; the first is the default.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Texts(Vec<(String, String)>);

impl Texts {
    /// Checks (language, text) pairs.
    ///
    /// # Errors
    /// [`TextError`].
    pub fn new(pairs: Vec<(String, String)>) -> Result<Self, TextError> {
        if !(1..=MAX_LANGUAGES).contains(&pairs.len()) {
            return Err(TextError::Languages(pairs.len()));
        }
        for (i, (language, text)) in pairs.iter().enumerate() {
            let shown = || language.chars().take(40).collect();
            let tag = (2..=35).contains(&language.len())
                && language
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
            if !tag {
                return Err(TextError::Language(shown()));
            }
            if pairs[..i].iter().any(|(earlier, _)| earlier == language) {
                return Err(TextError::Repeated(shown()));
            }
            if !(1..=MAX_TEXT_BYTES).contains(&text.len())
                || text.chars().any(|c| c.is_control() && c != '\n')
            {
                return Err(TextError::Text(shown()));
            }
        }
        Ok(Self(pairs))
    }

    /// From the wire.
    ///
    /// # Errors
    /// [`TextError`].
    pub fn from_wire(wire: &[wire::Text]) -> Result<Self, TextError> {
        if wire.len() > MAX_LANGUAGES {
            return Err(TextError::Languages(wire.len()));
        }
        Self::new(
            wire.iter()
                .map(|t| (t.language.clone(), t.text.clone()))
                .collect(),
        )
    }

    /// To the wire.
    pub fn to_wire(&self) -> Vec<wire::Text> {
        let text = |(language, text): &(String, String)| wire::Text {
            language: language.clone(),
            text: text.clone(),
        };
        self.0.iter().map(text).collect()
    }

    /// The text in `language`, else in its main language ("pt" for "pt-br"), else the default.
    pub fn get(&self, language: &str) -> &str {
        let main = language.split('-').next().unwrap_or(language);
        let find = |wanted: &str| {
            self.0
                .iter()
                .find(|(tag, _)| tag == wanted)
                .map(|(_, text)| text.as_str())
        };
        find(language)
            .or_else(|| find(main))
            .unwrap_or_else(|| self.default_text())
    }

    /// The text in the first of `languages` that there is: a language as given (`de-at`, `de_AT`), then the same without its region (`de`),
    /// then any region of it; after all of these English, and at last the default.
    pub fn best_of(&self, languages: &[String]) -> &str {
        let wanted = languages.iter().map(String::as_str).chain(["en"]);
        wanted
            .filter_map(|language| self.nearest(language))
            .next()
            .unwrap_or_else(|| self.default_text())
    }

    fn nearest(&self, language: &str) -> Option<&str> {
        let language = language.to_ascii_lowercase().replace('_', "-");
        let primary = language.split('-').next().unwrap_or(&language);
        let found = |wanted: &dyn Fn(&str) -> bool| self.iter().find(|(tag, _)| wanted(tag));
        found(&|tag| tag == language)
            .or_else(|| found(&|tag| tag == primary))
            .or_else(|| found(&|tag| tag.split('-').next() == Some(primary)))
            .map(|(_, text)| text)
    }

    /// The text in the first language.
    pub fn default_text(&self) -> &str {
        self.0.first().map_or("", |(_, text)| text)
    }

    /// (language, text) pairs in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(language, text)| (language.as_str(), text.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(pairs: &[(&str, &str)]) -> Result<Texts, TextError> {
        Texts::new(pairs.iter().map(|(l, t)| ((*l).into(), (*t).into())).collect())
    }

    #[test]
    fn the_nearest_language_is_found() {
        let t = texts(&[("de", "Ja"), ("en", "Yes"), ("pt-br", "Sim")]).expect("texts");
        assert_eq!(
            [t.get("en"), t.get("en-gb"), t.get("pt-br"), t.get("fr")],
            ["Yes", "Yes", "Sim", "Ja"]
        );
        assert_eq!(Texts::from_wire(&t.to_wire()), Ok(t));
    }

    #[test]
    fn bad_texts_are_refused() {
        assert_eq!(texts(&[]), Err(TextError::Languages(0)));
        assert_eq!(texts(&[("D", "x")]), Err(TextError::Language("D".into())));
        assert_eq!(
            texts(&[("de", "x"), ("de", "y")]),
            Err(TextError::Repeated("de".into()))
        );
        for text in ["", "a\u{7}", &"x".repeat(2001)] {
            assert_eq!(texts(&[("de", text)]), Err(TextError::Text("de".into())));
        }
    }
}
