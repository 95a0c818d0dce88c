/*
 * A grant that a notification carries, for Spin (https://spinroot.com): one exclusive name with its queue in the row. A
 * waiter may have a listening session, which the server can see. The statement that releases the name grants it to such a
 * waiter for the whole lease, durably, and the waiter believes its notification; others are granted it for the grace, until
 * they ask. A waiter counts the deadline from an earlier request: with the time before that was sent and the server's
 * clock in its answer, what the server's clock shows at the expiry is a time of its own. Without such a pair it asks.
 *
 * This is stricter than the code, which grants the whole lease in hybrid mode only, where the lock ends with a session
 * of its holder.
 *
 * Notifications and answers may be lost or late, a request may take effect once more at any later time, sessions end and
 * come back, and clients stop, crash, and give up at any moment. Checked: exclusion, rising tokens, that a client's
 * token is that of the row, first come first served among the living, and for how long no client has a name that others want.
 *
 * CRASHES           the server crashes once, which undoes what it committed lazily since the last durable commit
 * STEPS             the server's clock is set forward once, while no client believes: what a pair says must be newer than that
 * PROMPT            no pause and no lost answer: how long a name stays vacant after the grant to a dead waiter
 * SILENT            (prompt) the host of a dead waiter says nothing: its session ends later
 * BREAK_RECEIPT     the deadline is counted from the receipt of the notification
 * BREAK_LAZY        the grant to a waiter is committed lazily
 * BREAK_SHORT       a lease that is no longer than the grace counts as confirmed, and is committed lazily
 * BREAK_DEAF        every waiter is granted the whole lease, whether or not it listens
 * BREAK_DROP        a grant that its holder has not confirmed ends with the session that listened
 * BREAK_STALE       (steps) the pair may be of any age
 * BREAK_KEPT        a waiter that gives up while it is granted the lock does not release it
 */
#define CLIENTS 3
#ifdef PROMPT
#define END     3          /* ticks */
#define LEASE   2
#define FAULTS  2          /* crashes, lost or doubled requests, and ends of sessions, in all */
#else
#define END     1
#define LEASE   1
#define FAULTS  1
#endif
#define WINDOW  LEASE      /* a waiter that is silent for so long leaves the line */
#define GRACE   1          /* ticks of a grant to a waiter that does not listen */
#ifdef SILENT
#define VACANT  LEASE      /* ticks for which no client has the name, after one dead waiter */
#else
#define VACANT  GRACE
#endif

mtype = { ASK, RENEW, LEAVE, GRANTED, WAITING, GONE };
mtype = { IDLE, WANTS, HOLDS, LEAVES, OVER };

byte now;                  /* the time, for all alike */
byte step;                 /* how far the server's clock was set forward */
#define CLOCK (now + step)

/* The row: client + 1 in the order of the line; of each entry its token, when it ends, whether it has only the grace. */
byte line[CLIENTS], size, tok[CLIENTS], until[CLIENTS];
bool brief[CLIENTS];
byte token;                /* the highest: the clock in it lets it rise after a crash, too */

/* What of the row is on the disk. */
byte keptLine[CLIENTS], keptSize, keptTok[CLIENTS], keptUntil[CLIENTS];
bool keptBrief[CLIENTS], restarted;

/* Whether a client's process listens, and whether the server has its session. */
bool listens[CLIENTS], session[CLIENTS];

/* What no client and no server knows. */
byte highest, vacant, faults, ahead[CLIENTS];      /* ahead: who came before, as bits */
bool confirmed[CLIENTS], lived[CLIENTS];   /* lived: when it asked for what it got, or was granted it */

mtype state[CLIENTS] = IDLE;
byte deadline[CLIENTS], mine[CLIENTS];     /* until when it believes, and in which token */
byte pair[CLIENTS], lag[CLIENTS];          /* 1 + when the answered request was sent; the server's clock less that */
bool crashed[CLIENTS], stray[CLIENTS];
byte polled[CLIENTS];

chan question[CLIENTS] = [1] of { mtype, byte };
chan answer[CLIENTS] = [1] of { mtype, byte, byte, byte, byte };   /* asked, read, ticks that are left, token */
chan notice[CLIENTS] = [1] of { byte, byte };                      /* expiry, token */

#define BELIEVES(c) (state[c] == HOLDS && now < deadline[c])
#define ALL(is) (is(0) && is(1) && is(2))
#define ANY(is) (is(0) || is(1) || is(2))
#define EXCLUSIVE (BELIEVES(0) + BELIEVES(1) + BELIEVES(2) <= 1)

#define WAITS(c) (tok[c] == 0 && until[c] != 0)
#define LISTENS(c) (listens[c] && session[c])
#define PASSED(c) ahead[c] = ahead[c] & ~(1 << e)

#define LAPSED(c) (CLOCK >= until[c])
#ifdef BREAK_DEAF
#define DEAD(c) LAPSED(c)
#define WHOLE(c) true
#else
/* A waiter that listens stays for as long as its session does; what it was granted lasts until it expires. */
#ifdef BREAK_DROP
#define DEAD(c) ((tok[c] != 0 && LAPSED(c)) || (listens[c] -> !session[c] && !confirmed[c] : LAPSED(c)))
#else
#define DEAD(c) ((tok[c] == 0 && listens[c]) -> !session[c] : LAPSED(c))
#endif
#define WHOLE(c) LISTENS(c)
#endif

/* Removes the entry of a client, and dead ones; the others keep their order. */
inline remove(gone) {
	i = 0; n = 0;
	do
	:: i < size ->
		e = line[i] - 1;
		if
		:: e == gone || DEAD(e) -> tok[e] = 0; until[e] = 0; brief[e] = false;
			confirmed[e] = false; lived[e] = false; ahead[e] = 0; PASSED(0); PASSED(1); PASSED(2)
		:: else -> line[n] = line[i]; n++
		fi;
		i++
	:: else -> break
	od;
	size = n;
	do :: n < CLIENTS -> line[n] = 0; n++ :: else -> break od
}

/* Gives the head of the line the name, unless it has it; `me` for its whole lease. */
inline grant(me) {
	e = line[0] - 1;
	token++;
	assert(token > highest);                                        /* tokens rise */
	highest = token;
	assert(ahead[e] == 0);                                          /* first come, first served */
	tok[e] = token; brief[e] = !(e == me || WHOLE(e)); until[e] = CLOCK + (brief[e] -> GRACE : LEASE);
#ifdef BREAK_SHORT
	brief[e] = brief[e] && GRACE < LEASE;
#endif
	confirmed[e] = (e == me); lived[e] = (e == me || !crashed[e]);
	if
	:: e != me && LISTENS(e) && nfull(notice[e]) -> notice[e]!until[e], token
	:: e == me || !LISTENS(e) || full(notice[e]) -> skip
	fi
}

/* Whether another client relies on its grant before it has asked. */
#ifdef BREAK_LAZY
#define RELIED(c) false
#else
#ifdef BREAK_SHORT
#define RELIED(c) WHOLE(c)
#else
#define RELIED(c) !brief[c]
#endif
#endif

/* A durable commit takes those before it to the disk. */
inline save() {
	e = 0; keptSize = size;
	do
	:: e < CLIENTS ->
		keptLine[e] = line[e]; keptTok[e] = tok[e]; keptUntil[e] = until[e]; keptBrief[e] = brief[e]; e++
	:: else -> break
	od
}

/* One statement. `result` and `rest` are its answer. */
inline apply(c, verb) {
	d_step {
		result = GONE; rest = 0; durably = false;
		leaver = (verb == LEAVE -> c : CLIENTS);
		remove(leaver);
		if
		:: verb == ASK && until[c] == 0 ->
			ahead[c] = (WAITS(0) || tok[0] != 0) + 2 * (WAITS(1) || tok[1] != 0) + 4 * (WAITS(2) || tok[2] != 0);
			line[size] = c + 1; size++; until[c] = CLOCK + WINDOW
		:: verb == ASK && WAITS(c) -> until[c] = CLOCK + WINDOW
		:: (verb == RENEW && tok[c] != 0) || (verb == ASK && brief[c]) ->
			until[c] = CLOCK + LEASE; brief[c] = false; confirmed[c] = true; lived[c] = true; durably = true
		:: else -> skip
		fi;
		if
		:: size > 0 && tok[line[0] - 1] == 0 ->
			grant(c);
			durably = durably || line[0] - 1 == c || RELIED(line[0] - 1)
		:: else -> skip
		fi;
		if
		:: verb != LEAVE && tok[c] != 0 -> result = GRANTED; rest = until[c] - CLOCK
		:: verb != LEAVE && WAITS(c) -> result = WAITING
		:: else -> skip
		fi;
#ifdef CRASHES
		if :: durably -> save() :: else -> skip fi;
#endif
		e = 0; i = 0; n = 0; leaver = 0; durably = false
	}
}

#ifdef PROMPT
#define MAY_FAIL false
#else
#define MAY_FAIL (faults < FAULTS)
#endif

inline serve(c) {
	question[c]?verb, at;
	apply(c, verb);
#ifdef PROMPT
	polled[c] = now + 1;
#endif
	if
	:: !crashed[c] && nfull(answer[c]) -> answer[c]!result, at, CLOCK, rest, tok[c]
	:: crashed[c] || full(answer[c]) -> skip
	:: MAY_FAIL && !crashed[c] -> faults++                          /* lost */
	:: MAY_FAIL && verb == ASK && !stray[c] -> faults++; stray[c] = true   /* its connection ended, and it was sent again */
	fi;
	verb = ASK; at = 0; result = GONE; rest = 0
}

/* A session ends; what it was told may still arrive. */
inline endSession(c) {
	session[c] = false;
	if :: nempty(notice[c]) -> notice[c]?_, _ :: true -> skip fi
}

inline forget(c) {
	do :: nempty(question[c]) -> question[c]?_, _ :: empty(question[c]) -> break od;
	stray[c] = false;
	if :: session[c] -> endSession(c) :: else -> skip fi
}

active proctype Server() {
	mtype verb = ASK, result = GONE;
	byte at, rest, i, n, e, leaver;
	bool durably;
	do
	:: atomic { nempty(question[0]) -> serve(0) }
	:: atomic { nempty(question[1]) -> serve(1) }
	:: atomic { nempty(question[2]) -> serve(2) }
	:: atomic { stray[0] -> stray[0] = false; apply(0, ASK); result = GONE; rest = 0 }
	:: atomic { stray[1] -> stray[1] = false; apply(1, ASK); result = GONE; rest = 0 }
	:: atomic { stray[2] -> stray[2] = false; apply(2, ASK); result = GONE; rest = 0 }
#ifdef CRASHES
	:: atomic { !restarted ->
		restarted = true; forget(0); forget(1); forget(2);
		d_step {
			size = keptSize;
			do
			:: e < CLIENTS ->
				line[e] = keptLine[e]; ahead[e] = 0; tok[e] = keptTok[e]; until[e] = keptUntil[e]; brief[e] = keptBrief[e]; e++
			:: else -> break
			od;
			e = 0
		} }
#endif
	od
}

#ifdef PROMPT
#define LIVES(c) (state[c] == WANTS || state[c] == HOLDS)
#define SERVED(c) (empty(question[c]) && empty(answer[c]) && state[c] != LEAVES && (state[c] != WANTS || polled[c] == now + 1))
#define MAY_TICK ALL(SERVED)
#define IN_NEED(c) (LIVES(c) && WAITS(c))
#define KEEPS(c) (tok[c] != 0 && now < until[c] && (LIVES(c) || (crashed[c] && lived[c])))
#define VACANT_NOW (ANY(IN_NEED) && !ANY(KEEPS))
#else
#define MAY_TICK true
#define VACANT_NOW false
#endif

#define UNTOLD(c) (empty(answer[c]) && empty(notice[c]))

active proctype Clock() {
	/* the first client holds the name */
	atomic {
		line[0] = 1; size = 1; tok[0] = 1; until[0] = LEASE; token = 1; highest = 1; confirmed[0] = true; lived[0] = true;
		keptLine[0] = 1; keptSize = 1; keptTok[0] = 1; keptUntil[0] = LEASE;
		state[0] = HOLDS; mine[0] = 1; deadline[0] = LEASE
	};
	do
	:: atomic { now < END && MAY_TICK ->
		vacant = (VACANT_NOW -> vacant + 1 : 0);
		assert(vacant <= VACANT);                                   /* it is vacant for no longer */
		now++ }
#ifdef STEPS
	/* a lease that runs ends early then, whatever the protocol: so no client believes in one */
	:: atomic { step == 0 && !ANY(BELIEVES) && ALL(UNTOLD) -> step = 1 }
#endif
	od
}

#define MAY_ASK (empty(question[me]))
#ifdef PROMPT
#define MAY_POLL (polled[me] != now + 1)
#else
#define MAY_POLL empty(answer[me])
#endif

/* A lease that ends later than one that begins now shows a step; in a pair of this tick no step, of a tick, can hide. */
#if defined(STEPS) && !defined(BREAK_STALE)
#define FRESH (pair[me] == now + 1)
#else
#define FRESH (pair[me] != 0)
#endif

inline believe(until_, its) {
	if
	:: until_ > deadline[me] -> deadline[me] = until_; mine[me] = its
	:: else -> skip
	fi;
	if :: state[me] == WANTS && now < deadline[me] -> state[me] = HOLDS :: else -> skip fi;
	assert(!BELIEVES(me) || EXCLUSIVE);                                 /* exclusion */
	assert(!BELIEVES(me) || mine[me] == tok[me])                        /* what it holds is what was granted to it */
}

#define FORGET deadline[me] = 0; mine[me] = 0; pair[me] = 0; lag[me] = 0

active [CLIENTS] proctype Client() {
	mtype verb = ASK;
	byte at, read, rest, ends, its;
	byte me = _pid - 2;
	do
	:: atomic { state[me] == IDLE && state[0] != IDLE && me > 0 ->
		if :: me == 1 -> listens[me] = true; session[me] = true :: true -> skip fi;
		state[me] = WANTS; question[me]!ASK, now }
	:: atomic { state[me] == WANTS && MAY_ASK && MAY_POLL -> question[me]!ASK, now }
	:: atomic { BELIEVES(me) && me == 1 && MAY_ASK && MAY_POLL -> question[me]!RENEW, now }
	:: atomic { me < 2 && (state[me] == WANTS || state[me] == HOLDS) && MAY_ASK ->
#ifdef BREAK_KEPT
		if
		:: state[me] == WANTS -> state[me] = OVER
		:: state[me] == HOLDS -> state[me] = LEAVES; question[me]!LEAVE, now
		fi;
#else
		state[me] = LEAVES; question[me]!LEAVE, now;
#endif
		deadline[me] = 0 }
	:: atomic { state[me] == LEAVES && MAY_ASK && empty(answer[me]) -> question[me]!LEAVE, now }   /* no answer came */
	:: atomic { nempty(answer[me]) ->
		answer[me]?verb, at, read, rest, its;
		if :: me == 1 && state[me] == WANTS -> pair[me] = at + 1; lag[me] = read - at :: else -> skip fi;
		if
		:: verb == GRANTED && (state[me] == WANTS || BELIEVES(me)) -> believe(at + rest, its)
		:: verb == GONE && state[me] == LEAVES -> state[me] = OVER; FORGET
		:: else -> skip
		fi;
		verb = ASK; at = 0; read = 0; rest = 0; its = 0 }
	:: atomic { nempty(notice[me]) ->
		notice[me]?ends, its;
#ifdef BREAK_RECEIPT
		ends = now + LEASE;
#else
		if :: ends > lag[me] -> ends = ends - lag[me] :: else -> ends = 0 fi;
#endif
		if
		:: state[me] == WANTS && FRESH && ends <= now + LEASE -> believe(ends, its)
		:: else -> skip
		fi;
		ends = 0; its = 0 }
	:: atomic { state[me] == HOLDS && !BELIEVES(me) -> state[me] = OVER; FORGET }                      /* lost */
	/* its listening session ends, and comes back */
	:: atomic { session[me] && !crashed[me] && MAY_FAIL -> faults++; endSession(me) }
	:: atomic { listens[me] && !session[me] && !crashed[me] -> session[me] = true }
	:: atomic { me < 2 && state[me] != IDLE && state[me] != OVER && faults < FAULTS ->                           /* crash */
		faults++; crashed[me] = true; state[me] = OVER; FORGET;
		do :: nempty(answer[me]) -> answer[me]?_, _, _, _, _ :: empty(answer[me]) -> break od;
		do :: nempty(notice[me]) -> notice[me]?_, _ :: empty(notice[me]) -> break od;
#ifndef SILENT
		session[me] = false
#endif
		}
#ifdef SILENT
	:: atomic { crashed[me] && session[me] -> session[me] = false }
#endif
	od
}
