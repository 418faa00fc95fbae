//! Cutting a manifest's text where its outline does, whatever the pieces it arrives in.

/// No piece is longer: a path has at most 4 KiB, and escapes make it six times as long.
pub(super) const MAX_PIECE: usize = 64 * 1024;

/// Cuts text behind each bracket and comma of its outline: of the outermost object and of the arrays in it. What these
/// arrays hold stays in one piece. All of the text ends up in one piece or another.
#[derive(Debug, Clone, Default)]
pub(super) struct Pieces {
    /// The beginning of a piece that the input so far ended in.
    held: Vec<u8>,
    /// The piece before came from there.
    was_held: bool,
    depth: u32,
    in_string: bool,
    escaped: bool,
}

/// A piece would be longer than [`MAX_PIECE`].
#[derive(Debug)]
pub(super) struct TooLong;

impl Pieces {
    /// Takes the next piece off `input`; `None` if all of that is part of one that goes on.
    pub(super) fn next<'a, 'input: 'a>(&'a mut self, input: &mut &'input [u8]) -> Result<Option<&'a [u8]>, TooLong> {
        if core::mem::take(&mut self.was_held) {
            self.held.clear();
        }
        let within = input.get(..MAX_PIECE - self.held.len()).unwrap_or(input);
        let Some((piece, rest)) = self.cut(within).and_then(|len| input.split_at_checked(len)) else {
            if within.len() < input.len() {
                return Err(TooLong);
            }
            self.held.extend_from_slice(within);
            *input = &[];
            return Ok(None);
        };
        *input = rest;
        if self.held.is_empty() {
            return Ok(Some(piece));
        }
        self.held.extend_from_slice(piece);
        self.was_held = true;
        Ok(Some(&self.held))
    }

    /// The text since the last piece.
    pub(super) fn rest(&self) -> &[u8] {
        if self.was_held { &[] } else { &self.held }
    }

    /// How long the next piece is, if it ends in `bytes`. Each byte is looked at once, however long a piece becomes.
    fn cut(&mut self, bytes: &[u8]) -> Option<usize> {
        bytes.iter().position(|&byte| self.is_end(byte)).map(|at| at + 1)
    }

    fn is_end(&mut self, byte: u8) -> bool {
        /// The outermost object and the arrays in it.
        const OUTLINE: u32 = 2;
        if self.in_string {
            self.in_string = self.escaped || byte != b'"';
            self.escaped = !self.escaped && byte == b'\\';
            return false;
        }
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' => self.depth = self.depth.saturating_add(1),
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            b',' => {}
            _ => return false,
        }
        !self.in_string && self.depth <= OUTLINE
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pieces(text: &[u8], chunk_len: usize) -> Vec<Vec<u8>> {
        let mut pieces = Pieces::default();
        let mut found = Vec::new();
        for mut chunk in text.chunks(chunk_len) {
            while let Some(piece) = pieces.next(&mut chunk).unwrap() {
                found.push(piece.to_vec());
            }
        }
        found.push(pieces.rest().to_vec());
        found
    }

    #[test]
    fn brackets_in_strings_and_in_entries_do_not_count() {
        let text = br#"{"a,": 1, "b": [ {"\"]}": {}, "c": "\\"}, {}], "d": ""} "#;
        let expected = [
            r#"{"#,
            r#""a,": 1,"#,
            r#" "b": ["#,
            r#" {"\"]}": {}, "c": "\\"}"#,
            ",",
            " {}",
            "]",
            ",",
            r#" "d": ""}"#,
            " ",
        ];
        assert_eq!(pieces(text, 100), expected.map(|piece| piece.as_bytes().to_vec()));
    }

    #[test]
    fn a_piece_without_end_is_refused_before_it_fills_the_memory() {
        let endless = [b' '; 1000];
        let mut pieces = Pieces::default();
        let fed = (0..).take_while(|_| pieces.next(&mut endless.as_slice()).is_ok()).count();
        assert_eq!(fed, MAX_PIECE / endless.len());
        assert!(pieces.held.len() <= MAX_PIECE);
    }

    proptest! {
        #[test]
        fn chunks_do_not_change_the_pieces(text in r#"[{}\[\],"\\ a]{0,80}"#, chunk_len in 1..20usize) {
            let whole = pieces(text.as_bytes(), 100);
            prop_assert_eq!(whole.concat(), text.as_bytes());
            prop_assert_eq!(pieces(text.as_bytes(), chunk_len), whole);
        }
    }
}
