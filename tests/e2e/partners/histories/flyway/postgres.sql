--
-- PostgreSQL database dump
--



SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

SET default_tablespace = '';

SET default_table_access_method = heap;

--
-- Name: notes; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.notes (
    id bigint NOT NULL,
    text text NOT NULL,
    kind character varying(20) DEFAULT 'plain'::character varying
);


--
-- Name: a_list; Type: VIEW; Schema: public; Owner: -
--

CREATE VIEW public.a_list AS
 SELECT notes.text
   FROM public.notes;


--
-- Name: flyway_schema_history; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.flyway_schema_history (
    installed_rank integer NOT NULL,
    version character varying(50),
    description character varying(200) NOT NULL,
    type character varying(20) NOT NULL,
    script character varying(1000) NOT NULL,
    checksum integer,
    installed_by character varying(100) NOT NULL,
    installed_on timestamp without time zone DEFAULT now() NOT NULL,
    execution_time integer NOT NULL,
    success boolean NOT NULL
);


--
-- Name: marks; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.marks (
    id bigint NOT NULL,
    note bigint NOT NULL
);


--
-- Name: orders; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.orders (
    id bigint NOT NULL,
    buyer bigint NOT NULL
);


--
-- Name: titles; Type: VIEW; Schema: public; Owner: -
--

CREATE VIEW public.titles AS
 SELECT notes.text AS title
   FROM public.notes
  WHERE ((notes.kind)::text = 'plain'::text);


--
-- Name: users; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.users (
    id bigint NOT NULL,
    name text NOT NULL,
    email text
);


--
-- Data for Name: flyway_schema_history; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.flyway_schema_history VALUES (1, '1', 'users', 'SQL', 'V1__users.sql', -731224680, 'app', '2026-11-29 19:11:21.910949', 6, true);
INSERT INTO public.flyway_schema_history VALUES (2, '2', 'orders', 'SQL', 'V2__orders.sql', 1293312867, 'app', '2026-11-29 19:11:21.944148', 4, true);
INSERT INTO public.flyway_schema_history VALUES (3, '3', 'email', 'SQL', 'V3__email.sql', -1929901731, 'app', '2026-11-29 19:11:21.955918', 1, true);
INSERT INTO public.flyway_schema_history VALUES (4, '4', 'notes of users', 'SQL', 'V4__notes_of_users.sql', 1782958608, 'app', '2026-11-29 19:11:21.962582', 4, true);
INSERT INTO public.flyway_schema_history VALUES (5, '4.1', 'kinds of notes', 'SQL', 'V4.1__kinds_of_notes.sql', -1803447727, 'app', '2026-11-29 19:11:21.972591', 2, true);
INSERT INTO public.flyway_schema_history VALUES (6, '4.10', 'marks', 'SQL', 'more/V4_10__marks.sql', 1507111538, 'app', '2026-11-29 19:11:21.981117', 3, true);
INSERT INTO public.flyway_schema_history VALUES (7, '20260105', 'last', 'SQL', 'V20260105__last.sql', 934206162, 'app', '2026-11-29 19:11:21.988716', 3, true);
INSERT INTO public.flyway_schema_history VALUES (8, NULL, 'a list', 'SQL', 'more/R__a_list.sql', 1335958456, 'app', '2026-11-29 19:11:21.997344', 2, true);
INSERT INTO public.flyway_schema_history VALUES (9, NULL, 'titles', 'SQL', 'R__titles.sql', -618900247, 'app', '2026-11-29 19:11:22.004918', 1, true);


--
-- Data for Name: marks; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: notes; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.notes VALUES (1, 'a;b', 'plain');


--
-- Data for Name: orders; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: users; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.users VALUES (1, 'Ada; Countess', NULL);
INSERT INTO public.users VALUES (2, 'Grace', NULL);


--
-- Name: flyway_schema_history flyway_schema_history_pk; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.flyway_schema_history
    ADD CONSTRAINT flyway_schema_history_pk PRIMARY KEY (installed_rank);


--
-- Name: marks marks_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.marks
    ADD CONSTRAINT marks_pkey PRIMARY KEY (id);


--
-- Name: notes notes_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.notes
    ADD CONSTRAINT notes_pkey PRIMARY KEY (id);


--
-- Name: orders orders_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.orders
    ADD CONSTRAINT orders_pkey PRIMARY KEY (id);


--
-- Name: users users_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.users
    ADD CONSTRAINT users_pkey PRIMARY KEY (id);


--
-- Name: flyway_schema_history_s_idx; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX flyway_schema_history_s_idx ON public.flyway_schema_history USING btree (success);


--
-- Name: notes_text; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX notes_text ON public.notes USING btree (text);


--
-- Name: orders_buyer; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX orders_buyer ON public.orders USING btree (buyer);


--
-- Name: marks marks_note_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.marks
    ADD CONSTRAINT marks_note_fkey FOREIGN KEY (note) REFERENCES public.notes(id);


--
-- Name: orders orders_buyer_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.orders
    ADD CONSTRAINT orders_buyer_fkey FOREIGN KEY (buyer) REFERENCES public.users(id);


--
-- PostgreSQL database dump complete
--


