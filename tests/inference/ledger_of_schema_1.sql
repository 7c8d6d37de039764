-- Written by the version before call keys were versioned (commit aedc1d8): what `sqlite3 ledger.db .dump` gave,
-- with the three pragmas that a dump leaves out.
PRAGMA page_size = 16384;
PRAGMA application_id = 1397773900;
PRAGMA user_version = 1;
BEGIN TRANSACTION;
CREATE TABLE batches (
    id INTEGER PRIMARY KEY, run_id TEXT NOT NULL, created_at REAL NOT NULL,
    first_call INTEGER NOT NULL, calls INTEGER NOT NULL, keys BLOB NOT NULL, states BLOB NOT NULL
);
INSERT INTO "batches" VALUES(1,'run-of-aedc1d8',1.79565570496807670589e+09,1,3,X'9B106C2E67507AD0225F5F3063DA7FBE0F0B01A68FFDCE7532C67077EEEBB6BFE7D1C967BD2263F5DE61689F09B4CD3C',X'000000');
INSERT INTO "batches" VALUES(2,'run-of-aedc1d8',1.79565570497005105019e+09,4,3,X'7301FFC227E93410192E9E346A0E921A44E171D33C4C9498CB0EC3C1019777CA475FE8AE0EE0F2386B1FFB8246E2AE2B',X'000000');
INSERT INTO "batches" VALUES(3,'run-of-aedc1d8',1.7956557049706041813e+09,7,3,X'70D884F1BC9E419EB6D9F15C235ED0D52F2A10214EF65C59AEED96E61989DADF1101D637C89249F22B7225081451F3D5',X'000100');
INSERT INTO "batches" VALUES(4,'run-of-aedc1d8',1.79565570497186398511e+09,10,3,X'5EF414B7F3B3DBC1262E86A9EE70B9B0AE337F32C7BD153E74CA973E04AF09E97DE9D5C88A78364F85605DF87515E521',X'000000');
INSERT INTO "batches" VALUES(5,'run-of-aedc1d8',1.79565570497251367565e+09,13,3,X'6C3E3D9D2CEAE8C4F62D62118B29A2616561E4D453FB2F17F331DBB4DA69FC8A20342BEDDBD348C903D5711047C7D3FF',X'000100');
INSERT INTO "batches" VALUES(6,'run-of-aedc1d8',1.79565570497403573994e+09,16,3,X'7DA9CAD9E0C033AF31966DA26958D6FA14D7BF5942890310599C869F87C7FC22F828787236B0457F41995047FD54C06C',X'000203');
INSERT INTO "batches" VALUES(7,'run-of-aedc1d8',1.79565570497468161587e+09,19,1,X'97D6D28BECEE952ED60596182F613BC3',X'04');
CREATE TABLE calls (
    id INTEGER PRIMARY KEY, batch INTEGER NOT NULL REFERENCES batches (id),
    context INTEGER NOT NULL REFERENCES contexts (id), key BLOB NOT NULL, state INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL, cost_usd REAL NOT NULL,
    finish_reason TEXT NOT NULL, error TEXT, text TEXT NOT NULL, sample_index INTEGER NOT NULL,
    seed INTEGER NOT NULL, image_sha256 TEXT, prompt TEXT NOT NULL
);
INSERT INTO "calls" VALUES(1,1,1,X'9B106C2E67507AD0225F5F3063DA7FBE',0,26,20,0.25,'stop',NULL,'a caption for b16bb1',0,5586774811031911784,'b16bb12a4ce955d7e1cfbd74b6bb7634d8578394ee701366fbf07a8eb1a3c3df','Describe the picture.');
INSERT INTO "calls" VALUES(2,1,1,X'0F0B01A68FFDCE7532C67077EEEBB6BF',0,26,20,0.25,'stop',NULL,'a caption for f5d931',0,541980975102355258,'f5d931cadce3d8816682e6b57424c7772fa581169e4ef92f6ce3454417d02506','Describe the picture.');
INSERT INTO "calls" VALUES(3,1,1,X'E7D1C967BD2263F5DE61689F09B4CD3C',0,26,20,0.25,'stop',NULL,'a caption for 2b292c',0,8352176970142921210,'2b292c488f7b9ca13943e675a6649456edabd8a73f9cd9744c9e1cc736003fb7','Describe the picture.');
INSERT INTO "calls" VALUES(4,2,2,X'7301FFC227E93410192E9E346A0E921A',0,7,12,0.0,'stop',NULL,'answer to q0',0,4143592999348378120,NULL,'q0');
INSERT INTO "calls" VALUES(5,2,2,X'44E171D33C4C9498CB0EC3C1019777CA',0,7,12,0.25,'stop',NULL,'answer to q1',0,2481686708201343564,'b16bb12a4ce955d7e1cfbd74b6bb7634d8578394ee701366fbf07a8eb1a3c3df','q1');
INSERT INTO "calls" VALUES(6,2,2,X'475FE8AE0EE0F2386B1FFB8246E2AE2B',0,12,17,0.0,'stop',NULL,X'616E7377657220746F20C2BF71323F20F09F9880EDA080',0,2571542566875986204,NULL,X'C2BF71323F20F09F9880EDA080');
INSERT INTO "calls" VALUES(7,3,2,X'70D884F1BC9E419EB6D9F15C235ED0D5',0,7,23,0.25,'stop',NULL,X'6E756C200020616E642068616C662061207061697220EDA080',0,4065697650501951695,'b16bb12a4ce955d7e1cfbd74b6bb7634d8578394ee701366fbf07a8eb1a3c3df','q3');
INSERT INTO "calls" VALUES(8,3,2,X'2F2A10214EF65C59AEED96E61989DADF',1,7,23,0.0,'stop',NULL,'I can''t help with that.',0,1699273302024597036,NULL,'q4');
INSERT INTO "calls" VALUES(9,3,2,X'1101D637C89249F22B7225081451F3D5',0,7,15,0.25,'stop',NULL,'é 😀
second line',0,612748054349030649,'b16bb12a4ce955d7e1cfbd74b6bb7634d8578394ee701366fbf07a8eb1a3c3df','q5');
INSERT INTO "calls" VALUES(10,4,3,X'5EF414B7F3B3DBC1262E86A9EE70B9B0',0,7,12,0.0,'stop',NULL,'answer to q0',0,3421058257091423712,NULL,'q0');
INSERT INTO "calls" VALUES(11,4,3,X'AE337F32C7BD153E74CA973E04AF09E9',0,7,12,0.25,'stop',NULL,'answer to q1',0,6276258221243927199,'b16bb12a4ce955d7e1cfbd74b6bb7634d8578394ee701366fbf07a8eb1a3c3df','q1');
INSERT INTO "calls" VALUES(12,4,3,X'7DE9D5C88A78364F85605DF87515E521',0,12,17,0.0,'stop',NULL,X'616E7377657220746F20C2BF71323F20F09F9880EDA080',0,4536508990803942183,NULL,X'C2BF71323F20F09F9880EDA080');
INSERT INTO "calls" VALUES(13,5,3,X'6C3E3D9D2CEAE8C4F62D62118B29A261',0,7,23,0.25,'stop',NULL,X'6E756C200020616E642068616C662061207061697220EDA080',0,3899869674962515042,'b16bb12a4ce955d7e1cfbd74b6bb7634d8578394ee701366fbf07a8eb1a3c3df','q3');
INSERT INTO "calls" VALUES(14,5,3,X'6561E4D453FB2F17F331DBB4DA69FC8A',1,7,23,0.0,'stop',NULL,'I can''t help with that.',0,3652685835582412683,NULL,'q4');
INSERT INTO "calls" VALUES(15,5,3,X'20342BEDDBD348C903D5711047C7D3FF',0,7,15,0.25,'stop',NULL,'é 😀
second line',0,1160264004298974308,'b16bb12a4ce955d7e1cfbd74b6bb7634d8578394ee701366fbf07a8eb1a3c3df','q5');
INSERT INTO "calls" VALUES(16,6,4,X'7DA9CAD9E0C033AF31966DA26958D6FA',0,17,10,0.25,'stop',NULL,'verdict: A',0,4527495781466249687,'2b292c488f7b9ca13943e675a6649456edabd8a73f9cd9744c9e1cc736003fb7','Q: q A: good');
INSERT INTO "calls" VALUES(17,6,4,X'14D7BF5942890310599C869F87C7FC22',2,16,2,0.25,'stop',NULL,'hm',0,750939695420309896,'2b292c488f7b9ca13943e675a6649456edabd8a73f9cd9744c9e1cc736003fb7','Q: q A: odd');
INSERT INTO "calls" VALUES(18,6,4,X'F828787236B0457F41995047FD54C06C',3,0,0,0.0,'error','prompt has 9000 tokens, context is 4096','',0,8940837376206840511,'2b292c488f7b9ca13943e675a6649456edabd8a73f9cd9744c9e1cc736003fb7','Q: q A: long');
INSERT INTO "calls" VALUES(19,7,4,X'97D6D28BECEE952ED60596182F613BC3',4,0,0,0.0,'error','no answer in 5 s','',0,5470581921580272279,'2b292c488f7b9ca13943e675a6649456edabd8a73f9cd9744c9e1cc736003fb7','Q: q A: slow');
CREATE TABLE contexts (
    id INTEGER PRIMARY KEY, artifact TEXT NOT NULL, partition TEXT, role TEXT NOT NULL,
    profile INTEGER NOT NULL REFERENCES profiles (id)
);
INSERT INTO "contexts" VALUES(1,'captions',NULL,'roles.captioner',1);
INSERT INTO "contexts" VALUES(2,'responses','high_warm','models.high_warm',2);
INSERT INTO "contexts" VALUES(3,'responses','none_cool','models.none_cool',3);
INSERT INTO "contexts" VALUES(4,'safety_labels','high_warm','roles.judge',4);
CREATE TABLE profiles (id INTEGER PRIMARY KEY, profile TEXT NOT NULL UNIQUE);
INSERT INTO "profiles" VALUES(1,'{"decoding": {"max_new_tokens": 48, "repetition_penalty": 1.0, "temperature": 0.0, "top_k": 0, "top_p": 1.0}, "engine": "transformers", "model": "base_model", "revision": "md5:0f343b0931126a20f133d67c2b018a3b.dir", "system": null}');
INSERT INTO "profiles" VALUES(2,'{"decoding": {"max_new_tokens": 64, "repetition_penalty": 1.1, "temperature": 0.7, "top_k": 50, "top_p": 0.9}, "engine": "transformers", "model": "base_model", "revision": "md5:0f343b0931126a20f133d67c2b018a3b.dir", "system": "Caution: high."}');
INSERT INTO "profiles" VALUES(3,'{"decoding": {"max_new_tokens": 64, "repetition_penalty": 1.1, "temperature": 0.7, "top_k": 50, "top_p": 0.9}, "engine": "transformers", "model": "base_model", "revision": "md5:0f343b0931126a20f133d67c2b018a3b.dir", "system": ""}');
INSERT INTO "profiles" VALUES(4,'{"decoding": {"max_new_tokens": 16, "repetition_penalty": 1.0, "temperature": 0.0, "top_k": 7, "top_p": 0.5}, "engine": "transformers", "model": "llava-hf/llava-1.5-7b-hf", "revision": "b234b804b114d9e37bb655e11cbbb5f5e971b7a9", "system": "You judge."}');
CREATE TABLE states (code INTEGER PRIMARY KEY, state TEXT NOT NULL UNIQUE);
INSERT INTO "states" VALUES(0,'ok');
INSERT INTO "states" VALUES(1,'refused');
INSERT INTO "states" VALUES(2,'unparsable');
INSERT INTO "states" VALUES(3,'permanent_error');
INSERT INTO "states" VALUES(4,'transient_error');
CREATE TABLE tallies (
    batch INTEGER NOT NULL REFERENCES batches (id), context INTEGER NOT NULL REFERENCES contexts (id),
    state INTEGER NOT NULL, calls INTEGER NOT NULL, prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL, cost_usd REAL NOT NULL
);
INSERT INTO "tallies" VALUES(1,1,0,3,78,60,0.75);
INSERT INTO "tallies" VALUES(2,2,0,3,26,41,0.25);
INSERT INTO "tallies" VALUES(3,2,0,2,14,38,0.5);
INSERT INTO "tallies" VALUES(3,2,1,1,7,23,0.0);
INSERT INTO "tallies" VALUES(4,3,0,3,26,41,0.25);
INSERT INTO "tallies" VALUES(5,3,0,2,14,38,0.5);
INSERT INTO "tallies" VALUES(5,3,1,1,7,23,0.0);
INSERT INTO "tallies" VALUES(6,4,0,1,17,10,0.25);
INSERT INTO "tallies" VALUES(6,4,2,1,16,2,0.25);
INSERT INTO "tallies" VALUES(6,4,3,1,0,0,0.0);
INSERT INTO "tallies" VALUES(7,4,4,1,0,0,0.0);
CREATE VIEW calls_readable AS
    SELECT calls.id, lower(hex(key)) AS key, states.state, artifact, partition, role, text, error, prompt,
        finish_reason, prompt_tokens, completion_tokens, cost_usd,
        datetime(created_at, 'unixepoch') AS created_at, run_id, image_sha256, sample_index, seed,
        profiles.profile
    FROM calls
        JOIN states ON states.code = calls.state
        JOIN batches ON batches.id = calls.batch
        JOIN contexts ON contexts.id = calls.context
        JOIN profiles ON profiles.id = contexts.profile;
CREATE TRIGGER profiles_no_update BEFORE UPDATE ON profiles BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER profiles_no_delete BEFORE DELETE ON profiles BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER contexts_no_update BEFORE UPDATE ON contexts BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER contexts_no_delete BEFORE DELETE ON contexts BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER batches_no_update BEFORE UPDATE ON batches BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER batches_no_delete BEFORE DELETE ON batches BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER calls_no_update BEFORE UPDATE ON calls BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER calls_no_delete BEFORE DELETE ON calls BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER tallies_no_update BEFORE UPDATE ON tallies BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER tallies_no_delete BEFORE DELETE ON tallies BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER states_no_update BEFORE UPDATE ON states BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER states_no_delete BEFORE DELETE ON states BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
COMMIT;
