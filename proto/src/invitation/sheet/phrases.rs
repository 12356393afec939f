//! What stands on every sheet, in the languages that this version has.

/// The words of one language. They are HTML already and hold nothing from outside.
pub(super) struct Phrases {
    pub(super) voter: &'static str,
    pub(super) split: &'static str,
    pub(super) how: [&'static str; 4],
    pub(super) note: &'static str,
    /// Of the text message: election, then code.
    pub(super) text: &'static str,
}

const ENGLISH: Phrases = Phrases {
    voter: "Voter",
    split: "This is one half of your code. The other half comes as a text message; the voting program asks for both.",
    how: [
        "Scan the picture with the voting program, or type the code. Capitals, blanks and hyphens do not matter.",
        "If you mistype a letter or digit, the program names the group (the small number under it).",
        "You may vote as often as you like until the close. The last ballot counts.",
        "A vote at a polling station, where there is one, takes the place of all your online votes.",
    ],
    note: "Whoever holds this sheet can vote for you. The election commission never asks for it.",
    text: "{}: second half of your voting code: {} - tell it to nobody.",
};

const GERMAN: Phrases = Phrases {
    voter: "Stimmberechtigt",
    split: "Dies ist die eine Hälfte Ihres Codes. Die andere kommt als Textnachricht; das Programm fragt nach beiden.",
    how: [
        "Scannen Sie das Bild mit dem Wahlprogramm, oder tippen Sie den Code. Großschreibung, Leerzeichen und Bindestriche sind gleichgültig.",
        "Vertippen Sie sich, nennt das Programm die Gruppe (die kleine Zahl darunter).",
        "Sie können bis zum Ende der Wahl beliebig oft abstimmen. Der letzte Stimmzettel zählt.",
        "Eine Stimme im Wahllokal, wo es eines gibt, tritt an die Stelle aller Ihrer Online-Stimmen.",
    ],
    note: "Wer dieses Blatt hat, kann für Sie abstimmen. Die Wahlbehörde fragt Sie nie danach.",
    text: "{}: zweite Hälfte Ihres Codes: {} - sagen Sie sie niemandem.",
};

const FRENCH: Phrases = Phrases {
    voter: "Électeur",
    split: "Ceci est une moitié de votre code. L’autre arrive par message texte ; le programme demande les deux.",
    how: [
        "Scannez l’image avec le programme de vote, ou tapez le code. Majuscules, espaces et traits d’union sont indifférents.",
        "Si vous vous trompez d’un signe, le programme nomme le groupe (le petit chiffre en dessous).",
        "Vous pouvez voter autant de fois que vous voulez jusqu’à la clôture. Le dernier bulletin compte.",
        "Un vote au bureau de vote, là où il y en a un, remplace tous vos votes en ligne.",
    ],
    note: "Qui détient cette feuille peut voter pour vous. La commission électorale ne la demande jamais.",
    text: "{} : seconde moitié de votre code : {} - ne la dites à personne.",
};

const JAPANESE: Phrases = Phrases {
    voter: "選挙人",
    split: "これはコードの半分です。残りはテキストメッセージで届きます。両方が必要です。",
    how: [
        "投票プログラムで画像を読み取るか、コードを入力してください。大文字、小文字、全角、空白は区別しません。",
        "入力ミスがあると、グループの番号（下の小さな数字）が表示されます。",
        "締切まで何度でも投票できます。最後の投票が有効です。",
        "投票所での投票は、すべてのオンライン投票に優先します。",
    ],
    note: "この紙を持つ人はあなたの代わりに投票できます。選挙管理委員会がお尋ねすることはありません。",
    text: "{}: 投票コードの後半: {} 誰にも教えないでください。",
};

/// The words in the first of `languages` that there is, with its tag; English else.
pub(super) fn phrases(languages: &[String]) -> (&'static str, &'static Phrases) {
    let found = languages.iter().find_map(|language| {
        let language = language.to_ascii_lowercase();
        match language.split(['-', '_']).next() {
            Some("en") => Some(("en", &ENGLISH)),
            Some("de") => Some(("de", &GERMAN)),
            Some("fr") => Some(("fr", &FRENCH)),
            Some("ja") => Some(("ja", &JAPANESE)),
            _ => None,
        }
    });
    found.unwrap_or(("en", &ENGLISH))
}
