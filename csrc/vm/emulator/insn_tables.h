/* The instructions that vm/emulator/insn.c knows, a character each. */
#ifndef HL_VM_EMULATOR_INSN_TABLES_H
#define HL_VM_EMULATOR_INSN_TABLES_H

/* What follows an opcode, by its low and high half:
 *
 *   .  nothing        b  a byte          w  two bytes
 *   m  ModRM          B  ModRM, a byte   e  three bytes
 *   z  2 or 4 bytes   Z  ModRM, 2 or 4   v  2, 4 or 8 bytes
 *   j  4 bytes        a  an address      g, G  ModRM of group 3, and what
 *   -  no such instruction                     TEST needs
 *
 * Prefixes and escapes are dealt with before.  A near branch with 66 is none
 * for us: processors differ in what they make of it. */
static const char one_byte[] = "mmmmbz--mmmmbz--" /* 00 */
                               "mmmmbz--mmmmbz--"
                               "mmmmbz--mmmmbz--"
                               "mmmmbz--mmmmbz--"
                               "----------------" /* 40: REX */
                               "................"
                               "---m----zZbB...." /* 60 */
                               "bbbbbbbbbbbbbbbb"
                               "BZ-Bmmmmmmmmmmmm" /* 80 */
                               "..........-....."
                               "aaaa....bz......" /* a0 */
                               "bbbbbbbbvvvvvvvv"
                               "BBw.--BZe.w..b-." /* c0 */
                               "mmmm---.mmmmmmmm"
                               "bbbbbbbbjj-b...." /* e0 */
                               "-.--..gG......mm";

static const char two_bytes[] = "mmmm-.....-.-m.B" /* 0f 00 */
                                "mmmmmmmmmmmmmmmm"
                                "mmmm----mmmmmmmm" /* 0f 20 */
                                "......----------"
                                "mmmmmmmmmmmmmmmm" /* 0f 40 */
                                "mmmmmmmmmmmmmmmm"
                                "mmmmmmmmmmmmmmmm" /* 0f 60 */
                                "BBBBmmm.mm--mmmm"
                                "jjjjjjjjjjjjjjjj" /* 0f 80 */
                                "mmmmmmmmmmmmmmmm"
                                "...mBm--...mBmmm" /* 0f a0 */
                                "mmmmmmmmm-Bmmmmm"
                                "mmBmBBBm........" /* 0f c0 */
                                "mmmmmmmmmmmmmmmm"
                                "mmmmmmmmmmmmmmmm" /* 0f e0 */
                                "mmmmmmmmmmmmmmm-";

/* With which of the prefixes that select among vector instructions there is
 * one, as a hexadecimal digit: 1 none, 2 of 66, 4 of F3, 8 of F2.  '*': they
 * are not part of the opcode. */
static const char two_bytes_by_prefix[] = "****************" /* 0f 00 */
                                          "fff33373********"
                                          "********33f3ff33" /* 0f 20 */
                                          "****************"
                                          "****************" /* 0f 40 */
                                          "3f553333fff7ffff"
                                          "3333333333332237" /* 0f 60 */
                                          "f33333310000aa77"
                                          "****************" /* 0f 80 */
                                          "****************"
                                          "****************" /* 0f a0 */
                                          "********4*******"
                                          "**f*333*********" /* 0f c0 */
                                          "a33333e333333333"
                                          "333333e333333333" /* 0f e0 */
                                          "8333333333333330";

static const char after_0f38[] = "3333333333330000" /* 0f 38 00 */
                                 "2000220200003330"
                                 "2222220022220000" /* 0f 38 20 */
                                 "2222220222222222"
                                 "2200000000000000" /* 0f 38 40 */
                                 "0000000000000000"
                                 "0000000000000000" /* 0f 38 60 */
                                 "0000000000000000"
                                 "0000000000000000" /* 0f 38 80 */
                                 "0000000000000000"
                                 "0000000000000000" /* 0f 38 a0 */
                                 "0000000000000000"
                                 "0000000000000000" /* 0f 38 c0 */
                                 "0000000000022222"
                                 "0000000000000000" /* 0f 38 e0 */
                                 "**00000000000000";

static const char after_0f3a[] = "0000000022222223" /* 0f 3a 00 */
                                 "0000222200000000"
                                 "2220000000000000" /* 0f 3a 20 */
                                 "0000000000000000"
                                 "2220200000000000" /* 0f 3a 40 */
                                 "0000000000000000"
                                 "2222000000000000" /* 0f 3a 60 */
                                 "0000000000000000"
                                 "0000000000000000" /* 0f 3a 80 */
                                 "0000000000000000"
                                 "0000000000000000" /* 0f 3a a0 */
                                 "0000000000000000"
                                 "0000000000000000" /* 0f 3a c0 */
                                 "0000000000000002"
                                 "0000000000000000" /* 0f 3a e0 */
                                 "0000000000000000";

_Static_assert(sizeof one_byte == 257 && sizeof two_bytes == 257 &&
                   sizeof two_bytes_by_prefix == 257 &&
                   sizeof after_0f38 == 257 && sizeof after_0f3a == 257,
               "one character an opcode");

#endif
