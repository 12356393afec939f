//! Texts in several languages: every text has every language of the election's title, so that no voter meets half a ballot.

use tally_proto::wire;
use toml::Spanned;

use super::file::Texts;
use super::{DefinitionError, MAX_TEXT, Problem, Reader};

/// The languages of an election, the one for plain texts first.
#[derive(Debug)]
pub(super) struct Languages {
    plain: Option<String>,
    all: Vec<String>,
}

impl Languages {
    /// From the `language` key and the languages of the title.
    pub(super) fn of_title(
        reader: &Reader<'_>,
        language: Option<&Spanned<String>>,
        title: &Spanned<Texts>,
    ) -> Result<Self, DefinitionError> {
        let plain = match language {
            Some(tag) if !is_tag(tag.get_ref()) => {
                let problem = Problem::Language {
                    of: "the election".to_owned(),
                    tag: tag.get_ref().clone(),
                };
                return Err(reader.at(tag, problem));
            }
            tag => tag.map(|t| t.get_ref().clone()),
        };
        let all = match title.get_ref() {
            Texts::Plain(_) => plain.iter().cloned().collect(),
            Texts::ByLanguage(texts) => {
                // The election's own language comes first wherever one has to be chosen.
                let mut tags: Vec<String> = texts.keys().cloned().collect();
                tags.sort_by_key(|tag| Some(tag) != plain.as_ref());
                tags
            }
        };
        Ok(Self { plain, all })
    }

    /// Checks one text and answers it in all languages.
    pub(super) fn texts(
        &self,
        reader: &Reader<'_>,
        texts: &Spanned<Texts>,
        of: &str,
    ) -> Result<Vec<wire::Text>, DefinitionError> {
        let of = || of.to_owned();
        let mut found: Vec<(&str, &str)> = match texts.get_ref() {
            Texts::Plain(text) => match self.plain.as_ref().or(self.all.first()) {
                Some(language) => vec![(language, text)],
                None => return Err(reader.at(texts, Problem::NoLanguage { of: of() })),
            },
            Texts::ByLanguage(table) => table.iter().map(|(l, t)| (l.as_str(), t.as_str())).collect(),
        };
        if found.is_empty() {
            return Err(reader.at(texts, Problem::NoText { of: of() }));
        }
        for (language, text) in &found {
            if !is_tag(language) {
                return Err(reader.at(
                    texts,
                    Problem::Language {
                        of: of(),
                        tag: (*language).to_owned(),
                    },
                ));
            }
            let length = text.trim().chars().count();
            if length == 0 || length > MAX_TEXT {
                let language = (*language).to_owned();
                return Err(reader.at(
                    texts,
                    Problem::TextLength {
                        of: of(),
                        language,
                        length,
                    },
                ));
            }
        }
        // A plain name, such as a person's, is the same in every language.
        if let Texts::Plain(text) = texts.get_ref() {
            found = self.all.iter().map(|l| (l.as_str(), text.as_str())).collect();
        }
        if let Some(missing) = self.all.iter().find(|l| !found.iter().any(|(f, _)| f == l)) {
            return Err(reader.at(
                texts,
                Problem::MissingLanguage {
                    of: of(),
                    language: missing.clone(),
                },
            ));
        }
        found.sort_by_key(|(l, _)| self.all.iter().position(|a| a == l).unwrap_or(usize::MAX));
        Ok(found
            .into_iter()
            .map(|(language, text)| wire::Text {
                language: language.to_owned(),
                text: text.trim().to_owned(),
            })
            .collect())
    }
}

/// A lower case BCP 47 tag: a language of two or three letters, then subtags.
fn is_tag(tag: &str) -> bool {
    let mut parts = tag.split('-');
    let language = parts
        .next()
        .is_some_and(|p| (2..=3).contains(&p.len()) && p.bytes().all(|b| b.is_ascii_lowercase()));
    language
        && parts.all(|p| {
            (1..=8).contains(&p.len()) && p.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        })
}
