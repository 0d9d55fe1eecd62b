export default { title: 'Token' };
