create index notes_text on notes (text);


