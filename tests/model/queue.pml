/*
 * The queue of one name in its row, with hand-off, for Spin (https://spinroot.com). The line has holders before waiters;
 * entry k holds the name exactly when k is at most the smallest limit of the entries up to it. Each statement drops dead
 * entries, changes its own, and gives tokens to those that have come to hold the name. Each client wants the name once.
 *
 * Answers may be lost, late, and of a request that was sent before; a repeated ASK may take effect at any later time.
 * Clients stop, crash, give up and overstay at any moment, and the clock goes on. Checked: limits, rising tokens, first
 * come first served, and that nothing is left in the line of a client that has left it.
 *
 * THREE             three clients and no expiry but one, instead of two clients
 * READERS           limits of many, 1 and many instead of 1 for all; COUNTED: 2, 2 and 1
 * HYBRID            an entry counts only while its client's session lives, and is granted the whole lease at once
 * TOLD              the server tells a waiter of its grant; else the waiter asks again, which confirms the grant
 * EARLIER           a client may enter the queue before others that wait there
 * STEALS            the last client replaces the holders
 * PROMPT            no pause and no lost answer: how long a name stays vacant after the grant to a dead waiter
 * BREAK_GRACE       a release grants the whole lease to a waiter that may be dead
 * BREAK_STRANGERS   a release removes the first entry, whoever that is
 * BREAK_OVERTAKE    a reader is granted the name although a writer waits before it
 * BREAK_AMONG       (earlier) a client may enter the queue before a holder
 * BREAK_RECEIPT     (told) the local deadline is counted from the receipt of the grant
 * BREAK_CONFIRM     a late confirmation makes an entry where none is left
 * BREAK_TOKEN       a token is counted from the holders that are left
 */
#ifdef THREE
#define CLIENTS 3
#else
#define CLIENTS 2
#endif
#if defined(THREE) && !defined(PROMPT)
#define END     1          /* ticks */
#define LEASE   1
#define FAULTS  0          /* any process may stop, which is a crash but for its session */
#else
#define END     2
#define LEASE   2
#if defined(HYBRID) || defined(TOLD)
#define FAULTS  1          /* lost or doubled requests, and crashes, in all */
#else
#define FAULTS  2
#endif
#endif
#define WINDOW  LEASE      /* a waiter that is silent for so long leaves the line */
#define MANY    9
#if defined(HYBRID) || defined(BREAK_GRACE)
#define GRACE   LEASE
#else
#define GRACE   1          /* ticks of a grant that its waiter has not confirmed */
#endif
#define VACANT  1          /* ticks: the grace of one dead waiter */
#define GIVES_UP 2         /* ticks of silence after which a session ends, for both sides */

#ifdef READERS
#define LIMIT(c) ((c) == 1 -> 1 : MANY)
#else
#ifdef COUNTED
#define LIMIT(c) ((c) == 2 -> 1 : 2)
#else
#define LIMIT(c) 1
#endif
#endif
#ifdef STEALS
#define FIRST(c) ((c) == CLIENTS - 1 -> STEAL : ASK)
#else
#define FIRST(c) ASK
#endif

mtype = { ASK, STEAL, CONFIRM, LEAVE, GRANTED, WAITING, GONE };
mtype = { IDLE, WANTS, HOLDS, LEAVES, OVER };

byte now;

/* The row: client + 1 in the order of the line; the highest token; of each entry its token and when it ends. */
byte line[CLIENTS], size, token, tok[CLIENTS], until[CLIENTS];

/* What no client and no server knows. */
byte highest, vacant, faults;
bool confirmed[CLIENTS], stolen[CLIENTS];

mtype state[CLIENTS] = IDLE;
byte deadline[CLIENTS], lag[CLIENTS];      /* lag: how much later than asked the last answer read the clock */
bool crashed[CLIENTS], stray[CLIENTS], late[CLIENTS];
byte told[CLIENTS], polled[CLIENTS];
bool alive[CLIENTS] = true;
byte seen[CLIENTS], heard[CLIENTS];

chan question[CLIENTS] = [1] of { mtype, byte };
chan answer[CLIENTS] = [1] of { mtype, byte, byte, byte };   /* asked, read, ticks that are left */

#ifdef HYBRID
#define HEARD(c) (now < heard[c] + GIVES_UP)
#else
#define HEARD(c) true
#endif
#define BELIEVES(c) (state[c] == HOLDS && now < deadline[c] && HEARD(c) && !stolen[c])
#ifdef THREE
#define ALL(is) (is(0) && is(1) && is(2))
#define ANY(is) (is(0) || is(1) || is(2))
#define BELIEVERS (BELIEVES(0) + BELIEVES(1) + BELIEVES(2))
#else
#define ALL(is) (is(0) && is(1))
#define ANY(is) (is(0) || is(1))
#define BELIEVERS (BELIEVES(0) + BELIEVES(1))
#endif
#define ADMITS(c) (!BELIEVES(c) || LIMIT(c) >= BELIEVERS)

#ifdef HYBRID
#define DEAD(c) (now >= until[c] || !alive[c])
#else
#define DEAD(c) (now >= until[c])
#endif

#ifdef BREAK_AMONG
#define MAY_PASS(c) true
#else
#define MAY_PASS(c) (tok[c] == 0)
#endif

/* Removes the entries of a client, and dead ones; the others keep their order. */
inline remove(gone) {
	i = 0; n = 0;
	do
	:: i < size ->
		e = line[i] - 1;
		if
		:: e == gone || DEAD(e) -> tok[e] = 0; until[e] = 0
		:: else -> line[n] = line[i]; n++
		fi;
		i++
	:: else -> break
	od;
	size = n;
	do :: n < CLIENTS -> line[n] = 0; n++ :: else -> break od
}

/* Ends all holders, before their entries are removed. */
inline endHolders() {
	e = 0;
	do
	:: e < CLIENTS -> if :: tok[e] != 0 -> stolen[e] = true; until[e] = 0 :: else -> skip fi; e++
	:: else -> break
	od
}

inline insertFirst(c) {
	i = size;
	do :: i > 0 -> line[i] = line[i - 1]; i-- :: else -> break od;
	line[0] = c + 1; size++; until[c] = now + LEASE
}

/* Behind the holders: one that has waited in its process may come before others. */
inline enter(c) {
	line[size] = c + 1; size++; until[c] = now + WINDOW;
	n = size - 1;
	do
	:: passes > 0 && n > 0 && MAY_PASS(line[n - 1] - 1) -> line[n] = line[n - 1]; n--; line[n] = c + 1; passes--
	:: else -> break
	od;
	n = 0
}

/* Gives a token to each entry that has come to hold the name. */
inline grant(me) {
	i = 0; room = MANY; n = 0;
	do
	:: i < size ->
		e = line[i] - 1;
#ifdef BREAK_OVERTAKE
		if
		:: n < LIMIT(e) && n < room -> room = (LIMIT(e) < room -> LIMIT(e) : room); n++; give(e, me)
		:: else -> skip
		fi;
#else
		room = (LIMIT(e) < room -> LIMIT(e) : room);
		if :: i >= room -> break :: else -> give(e, me) fi;
#endif
		i++
	:: else -> break
	od
}

inline give(c, me) {
	if
	:: tok[c] == 0 ->
#ifdef BREAK_TOKEN
		token = (tok[0] > tok[1] -> tok[0] : tok[1]);
#endif
		token++;
		assert(token > highest);
		highest = token;
		assert(i == 0 || tok[line[i - 1] - 1] != 0);                /* first come, first served */
		tok[c] = token; until[c] = now + (c == me -> LEASE : GRACE); confirmed[c] = (c == me);
#ifdef TOLD
		if :: c != me -> told[c] = until[c] :: true -> skip fi    /* the notification may be lost */
#endif
	:: else -> skip
	fi
}

/* One statement. `result` and `rest` are its answer. A choice has to be made before a deterministic step. */
inline apply(c, verb) {
#ifdef EARLIER
	if :: passes = 0 :: passes = 1 :: passes = 2 fi; skip;
#endif
	d_step {
		result = GONE; rest = 0;
		if :: verb == STEAL && until[c] == 0 -> endHolders() :: else -> skip fi;
		leaver = (verb == LEAVE -> c : CLIENTS);
#ifdef BREAK_STRANGERS
		if :: verb == LEAVE && size > 0 -> leaver = line[0] - 1 :: else -> skip fi;
#endif
		remove(leaver);
		absent = (until[c] == 0);
		if
		:: verb == STEAL && until[c] == 0 -> insertFirst(c)
		:: verb == ASK && until[c] == 0 -> enter(c)
		:: verb == ASK && until[c] != 0 && tok[c] == 0 -> until[c] = now + WINDOW
#ifdef BREAK_CONFIRM
		:: verb == CONFIRM && until[c] == 0 -> enter(c)
#endif
		:: verb != LEAVE && tok[c] != 0 -> until[c] = now + LEASE; confirmed[c] = true
		:: else -> skip
		fi;
		grant(c);
		assert(!absent || verb == ASK || verb == STEAL || until[c] == 0);   /* nothing is left behind */
		if
		:: verb != LEAVE && tok[c] != 0 -> result = GRANTED; rest = until[c] - now
		:: verb != LEAVE && tok[c] == 0 && until[c] != 0 -> result = WAITING
		:: else -> skip
		fi;
		e = 0; i = 0; n = 0; room = 0; leaver = 0; passes = 0; absent = false
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
#ifdef HYBRID
	seen[c] = now;
#endif
	if
	:: !crashed[c] && nfull(answer[c]) -> answer[c]!result, at, now, rest
	:: crashed[c] || full(answer[c]) -> skip
	:: MAY_FAIL && !crashed[c] -> faults++                          /* lost */
	:: MAY_FAIL && verb == ASK && !stray[c] -> faults++; stray[c] = true   /* its connection ended, and it was sent again */
	fi;
	verb = ASK; at = 0; result = GONE; rest = 0
}

/* The server ends a session, and with it what was on its way there. */
inline end(c) {
	alive[c] = false; seen[c] = 0; stray[c] = false; late[c] = false;
	do :: nempty(question[c]) -> question[c]?_, _ :: empty(question[c]) -> break od
}

active proctype Server() {
	mtype verb = ASK, result = GONE;
	byte at, rest, i, n, e, room, leaver, passes;
	bool absent;
	do
	:: atomic { nempty(question[0]) -> serve(0) }
	:: atomic { nempty(question[1]) -> serve(1) }
	:: atomic { stray[0] -> stray[0] = false; apply(0, ASK); result = GONE; rest = 0 }
	:: atomic { stray[1] -> stray[1] = false; apply(1, ASK); result = GONE; rest = 0 }
#ifdef TOLD
	:: atomic { late[0] -> late[0] = false; apply(0, CONFIRM); result = GONE; rest = 0 }
	:: atomic { late[1] -> late[1] = false; apply(1, CONFIRM); result = GONE; rest = 0 }
#endif
#ifdef HYBRID
	:: atomic { alive[0] && state[0] != IDLE && now >= seen[0] + GIVES_UP -> end(0) }
	:: atomic { alive[1] && state[1] != IDLE && now >= seen[1] + GIVES_UP -> end(1) }
#endif
#ifdef THREE
	:: atomic { nempty(question[2]) -> serve(2) }
	:: atomic { stray[2] -> stray[2] = false; apply(2, ASK); result = GONE; rest = 0 }
#endif
	od
}

#ifdef PROMPT
#define LIVES(c) (state[c] == WANTS || state[c] == HOLDS)
#define SERVED(c) (empty(question[c]) && empty(answer[c]) && state[c] != LEAVES && (state[c] != WANTS || polled[c] == now + 1))
#define MAY_TICK ALL(SERVED)
#define WAITS(c) (LIVES(c) && tok[c] == 0 && until[c] != 0)
#define KEEPS(c) (tok[c] != 0 && now < until[c] && (LIVES(c) || confirmed[c]))
#define VACANT_NOW (ANY(WAITS) && !ANY(KEEPS))
#else
#define MAY_TICK true
#define VACANT_NOW false
#endif

active proctype Clock() {
	do
	:: atomic { now < END && MAY_TICK ->
		vacant = (VACANT_NOW -> vacant + 1 : 0);
		assert(vacant <= VACANT);                                   /* a grant is lost for no longer */
		now++ }
	od
}

#define MAY_ASK (empty(question[me]) && alive[me])
#ifdef PROMPT
#define MAY_POLL (polled[me] != now + 1)
#else
#define MAY_POLL empty(answer[me])
#endif

inline believe(until_) {
	deadline[me] = (until_ > deadline[me] -> until_ : deadline[me]);
	if :: state[me] == WANTS && now < deadline[me] && HEARD(me) -> state[me] = HOLDS :: else -> skip fi;
	assert(ALL(ADMITS))
}

active [CLIENTS] proctype Client() {
	mtype verb = ASK;
	byte at, read, rest;
	byte me = _pid - 2;
	do
	:: atomic { state[me] == IDLE && alive[me] && (me == 0 || state[me - 1] != IDLE) ->
		state[me] = WANTS;
#ifdef HYBRID
		heard[me] = now; seen[me] = now;
#endif
		question[me]!FIRST(me), now }
	:: atomic { state[me] == WANTS && MAY_ASK && MAY_POLL -> question[me]!FIRST(me), now }
	:: atomic { BELIEVES(me) && MAY_ASK -> question[me]!CONFIRM, now }
	:: atomic { (state[me] == WANTS || state[me] == HOLDS) && MAY_ASK -> state[me] = LEAVES; deadline[me] = 0; question[me]!LEAVE, now }
	:: atomic { state[me] == LEAVES && MAY_ASK && empty(answer[me]) -> question[me]!LEAVE, now }   /* no answer came */
	:: atomic { nempty(answer[me]) ->
		answer[me]?verb, at, read, rest;
#ifdef TOLD
		lag[me] = read - at;
#endif
#ifdef HYBRID
		heard[me] = (at > heard[me] -> at : heard[me]);
#endif
		if
		:: verb == GRANTED && (state[me] == WANTS || BELIEVES(me)) -> believe(at + rest)
		:: verb == GONE && state[me] == LEAVES -> state[me] = OVER
		:: else -> skip
		fi;
		verb = ASK; at = 0; read = 0; rest = 0 }
#ifdef TOLD
	:: atomic { told[me] != 0 ->
		if
		:: state[me] == WANTS ->
#ifdef BREAK_RECEIPT
			believe(now + GRACE);
#else
			believe(told[me] - lag[me]);
#endif
			late[me] = (state[me] == HOLDS)
		:: else -> skip
		fi;
		told[me] = 0 }
#endif
	:: atomic { state[me] == HOLDS && !BELIEVES(me) -> state[me] = OVER; deadline[me] = 0 }         /* lost */
	:: atomic { state[me] != IDLE && state[me] != OVER && faults < FAULTS ->                           /* crash */
		faults++; crashed[me] = true; state[me] = OVER; deadline[me] = 0; told[me] = 0; lag[me] = 0;
		do :: nempty(answer[me]) -> answer[me]?_, _, _, _ :: empty(answer[me]) -> break od;
#ifdef HYBRID
		if :: alive[me] -> end(me) :: skip fi      /* the kernel ends the connection, unless it died too */
#endif
		}
	od
}
